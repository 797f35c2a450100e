"""Base `float32`: the weights as they are computed with, nothing left out."""

from __future__ import annotations

from antiphon.strategies.bases.base import Base, Need


def float32() -> Base:
    """Four bytes for each weight: everything can be done with it, on every device."""
    return Base("float32", 4.0, frozenset(Need))
