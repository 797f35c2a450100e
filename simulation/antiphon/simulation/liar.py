"""Hostile clients: what they send instead of what they have trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from antiphon.core.types import FloatArray, Package, Params, Update

Liar = Literal["none", "scaled", "sign-flipped", "nan", "random"]
SCALE = np.float32(100)
"""By which a `scaled` update is too large."""


@dataclass(frozen=True)
class Lie:
    """What a client sends. scale: times that it is longer; norm: L2 norm that it is stretched to, then."""

    kind: Liar = "none"
    scale: float = 1.0
    norm: float | None = None


def told(update: Update, lie: Lie, rng: np.random.Generator) -> Update:
    """Return the update that a client of this kind sends; everything but its numbers stays.

    scaled: 100 times too large; sign-flipped: the way back; nan: no number at all; random: standard
    normal noise.
    """
    if lie == Lie():
        return update
    arrays = dict(sorted(update.payload.arrays.items()))
    numbers = {n: cast(FloatArray, each) for n, each in arrays.items() if each.dtype == np.float32}
    lies = Package(update.payload.form, {**arrays, **_lies(lie, rng, numbers)})
    return replace(update, payload=lies)


def _lies(lie: Lie, rng: np.random.Generator, truth: Params) -> dict[str, FloatArray]:
    kinds: dict[Liar, Callable[[FloatArray], FloatArray]] = {
        "none": lambda value: value,
        "scaled": lambda value: value * SCALE,
        "sign-flipped": lambda value: -value,
        "nan": lambda value: np.full_like(value, np.nan),
        "random": lambda value: rng.standard_normal(value.shape, dtype=np.float32),
    }
    lies = {name: kinds[lie.kind](value) * np.float32(lie.scale) for name, value in truth.items()}
    if lie.norm is None:
        return lies
    length = math.hypot(*(float(np.linalg.norm(value)) for value in lies.values()))
    return {
        name: value * np.float32(lie.norm / length if length else 1.0)
        for name, value in lies.items()
    }
