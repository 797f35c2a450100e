"""Hostile clients: what they send instead of what they have trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from antiphon.core.types import FloatArray, LoraUpdate, Update

Liar = Literal["none", "scaled", "sign-flipped", "nan", "random"]
SCALE = np.float32(100)
"""By which a `scaled` update is too large."""


def told(update: Update, liar: Liar, rng: np.random.Generator) -> Update:
    """Return the update that a client of this kind sends; everything but its numbers stays.

    scaled: 100 times too large; sign-flipped: the way back; nan: no number at all; random: standard
    normal noise.
    """
    if liar == "none":
        return update
    lie = partial(_lie, liar, rng)
    if isinstance(update.payload, LoraUpdate):
        delta = {name: lie(value) for name, value in sorted(update.payload.delta.items())}
        return replace(update, payload=LoraUpdate(delta))
    return replace(update, payload=replace(update.payload, value=lie(update.payload.value)))


def _lie(liar: Liar, rng: np.random.Generator, value: FloatArray) -> FloatArray:
    lies: dict[str, Callable[[], FloatArray]] = {
        "scaled": lambda: value * SCALE,
        "sign-flipped": lambda: -value,
        "nan": lambda: np.full_like(value, np.nan),
        "random": lambda: rng.standard_normal(value.shape, dtype=np.float32),
    }
    return lies[liar]()
