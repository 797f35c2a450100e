"""What a run's coefficients stand for, in numpy: for a coordinator that has no torch.

`moved` gives the tensors of a small space (LoRA factors); `as_lora` gives, for a space of weights, LoRA
factors that are exactly the sum of directions: U·diag(C) and Vᵀ while that is the smaller form, else the
product itself beside an identity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from antiphon.core import directions
from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.config import RunConfig
from antiphon.core.directions import run_key
from antiphon.core.peft_folder import factor_name
from antiphon.core.types import Float64Array, FloatArray, Params
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.by_name import ByName
from antiphon.strategies.forms.walk import Walked

_SEEDS_AT_ONCE = 1024


@dataclass(frozen=True)
class Directions:
    """The directions of a run. kind: lowrank, rademacher or gaussian; rank: of low-rank ones."""

    kind: str
    rank: int
    key: int


def walked_tensors(along: Directions, num_seeds: int) -> Walked:
    """Return what a walk is in a space of tensors: a delta that is drawn anew at each look-up.

    A hundred clients are a hundred vectors of coefficients. num_seeds: K.
    """

    def walked(
        start: Tensors, gradients: Float64Array, learning_rate: float, rate_of_round: float
    ) -> Tensors:
        index = np.flatnonzero(gradients).astype(np.uint32)
        value = (-learning_rate * gradients[index]).astype(np.float32)
        coefficients = SeedCoefficients(num_seeds, index, value)

        def tensor(name: str) -> FloatArray:
            rows, columns = start[name].shape
            return total(name, (rows, columns), coefficients, along)

        return ByName(start, tensor)

    return walked


def directions_of(config: RunConfig) -> Directions:
    """Return the directions along which a run's seeds move."""
    directions = config.seeds.directions
    return Directions(directions.kind, directions.rank, run_key(config.seed))


def moved(
    start: Params, coefficients: SeedCoefficients, along: Directions
) -> dict[str, FloatArray]:
    """Return start + Σ_k C_k z_k for every tensor (m, n) of `start`."""
    return {
        name: start[name]
        + total(name, (start[name].shape[0], start[name].shape[1]), coefficients, along)
        for name in start
    }


def total(
    name: str, shape: tuple[int, int], coefficients: SeedCoefficients, along: Directions
) -> FloatArray:
    """Return Σ_k C_k z_k of one tensor, float32 (m, n)."""
    summed = np.zeros(shape, dtype=np.float32)
    if along.kind == "lowrank":
        for u, v in _scaled_factors(name, shape, coefficients, along):
            summed += u @ v.T
        return summed
    draw = directions.rademacher if along.kind == "rademacher" else directions.gaussian
    for seed, value in zip(coefficients.index.tolist(), coefficients.value, strict=True):
        summed += value * draw(along.key, seed, name, 0, summed.size).reshape(shape)
    return summed


def as_lora(
    shapes: Mapping[str, tuple[int, int]], coefficients: SeedCoefficients, along: Directions
) -> dict[str, FloatArray]:
    """Return LoRA factors by PEFT's names whose products B·A are Σ_k C_k z_k of each module's weight."""
    factors: dict[str, FloatArray] = {}
    for name, shape in shapes.items():
        b, a = _exact_factors(name, shape, coefficients, along)
        factors[factor_name(name, "A")] = np.ascontiguousarray(a)
        factors[factor_name(name, "B")] = np.ascontiguousarray(b)
    return factors


def _exact_factors(
    name: str, shape: tuple[int, int], coefficients: SeedCoefficients, along: Directions
) -> tuple[FloatArray, FloatArray]:
    columns = len(coefficients.index) * along.rank
    if along.kind == "lowrank" and 0 < columns < min(shape):
        chunks = list(_scaled_factors(name, shape, coefficients, along))
        return np.hstack([u for u, _ in chunks]), np.hstack([v for _, v in chunks]).T
    summed = total(name, shape, coefficients, along)
    if shape[0] < shape[1]:
        return np.eye(shape[0], dtype=np.float32), summed
    return summed, np.eye(shape[1], dtype=np.float32)


def _scaled_factors(
    name: str, shape: tuple[int, int], coefficients: SeedCoefficients, along: Directions
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield U·diag(C)/√r (m, seeds·r) and V (n, seeds·r), a thousand seeds at a time."""
    for start in range(0, len(coefficients.index), _SEEDS_AT_ONCE):
        part = slice(start, start + _SEEDS_AT_ONCE)
        u, v = directions.low_rank(along.key, coefficients.index[part], name, shape, along.rank)
        scale = coefficients.value[part, None] / np.float32(math.sqrt(along.rank))
        yield _side_by_side(u * scale[..., None]), _side_by_side(v)


def _side_by_side(each: FloatArray) -> FloatArray:
    seeds, size, rank = each.shape
    joined: FloatArray = each.transpose(1, 0, 2).reshape(size, seeds * rank)
    return joined
