"""Base `bfloat16`: the upper half of each float32, as matrix units of GPUs take it."""

from __future__ import annotations

from antiphon.strategies.bases.base import Base, Need


def bfloat16() -> Base:
    """Two bytes for each weight: losses and weights are good to two or three digits."""
    return Base("bfloat16", 2.0, frozenset({Need.GRADIENTS, Need.DRAWS}))
