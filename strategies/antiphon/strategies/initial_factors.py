"""The adapter before the first round: the same bits on every machine, from shapes and a seed alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from antiphon.core.types import FloatArray
from antiphon.strategies.aggregation.adapter import A_SUFFIX


def initial_factors(shapes: Mapping[str, tuple[int, int]], seed: int) -> dict[str, FloatArray]:
    """Return a fresh adapter: A as PEFT draws it (uniform ±1/√d_in), B zero; the same on any machine."""
    factors: dict[str, FloatArray] = {}
    for index, name in enumerate(sorted(shapes)):
        shape = shapes[name]
        rng = np.random.Generator(np.random.Philox(key=[seed, index]))
        bound = 1 / math.sqrt(shape[1])
        uniform = rng.random(shape, dtype=np.float32) * np.float32(2 * bound) - np.float32(bound)
        factors[name] = uniform if name.endswith(A_SUFFIX) else np.zeros(shape, dtype=np.float32)
    return factors
