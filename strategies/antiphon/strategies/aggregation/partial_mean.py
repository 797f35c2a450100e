"""A weighted mean that can be begun in many places: whoever adds up, in whatever order, gets the same bits.

Each term is cut at two fixed grids. Multiples of a grid add up without rounding in float64 as long as their
sum stays below 2**53 of its steps, so that addition is associative (after Demmel and Nguyen, "Parallel
Reproducible Summation", IEEE Trans. Computers 2015, with two bins that stand still).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.types import Float64Array, FloatArray

COARSE = 2.0**-24
"""Exact while |Σ weight·tensor| < 2**29; beyond that the sum is rounded, and its order counts."""

FINE = 2.0**-58
"""What is smaller is lost; exact for a million terms."""


@dataclass(frozen=True)
class Binned:
    """A sum of numbers, each cut at both grids; what they are, (…), is for whoever adds them."""

    coarse: Float64Array
    fine: Float64Array

    def __add__(self, other: Binned) -> Binned:
        """Return the sum of both. Raises UpdateError where their shapes differ."""
        if self.coarse.shape != other.coarse.shape:
            raise UpdateError(f"cannot add shapes {self.coarse.shape} and {other.coarse.shape}")
        return Binned(self.coarse + other.coarse, self.fine + other.fine)

    def rounded(self) -> Float64Array:
        """Return the sum, rounded once."""
        return self.coarse + self.fine


@dataclass(frozen=True)
class PartialMean:
    """Part of a weighted mean. terms: Σ weight·tensor; weights: Σ weight, a number."""

    terms: Binned
    weights: Binned

    def __add__(self, other: PartialMean) -> PartialMean:
        """Return what both make together. Raises UpdateError where their tensors are not of one shape."""
        return PartialMean(self.terms + other.terms, self.weights + other.weights)

    def value(self) -> Float64Array:
        """Return the mean of what was added."""
        return self.terms.rounded() / self.weights.rounded()


def partial_mean(terms: Iterable[tuple[float, Float64Array | FloatArray]]) -> PartialMean:
    """Return the part that some (weight, tensor) make, each weight above zero; one term is held at a time.

    Raises UpdateError for no terms, a weight that is none, or shapes that differ.
    """
    parts = (_part(weight, tensor) for weight, tensor in terms)
    first = next(parts, None)
    if first is None:
        raise UpdateError("there is nothing to average")
    return reduce(PartialMean.__add__, parts, first)


def _part(weight: float, tensor: Float64Array | FloatArray) -> PartialMean:
    if not (math.isfinite(weight) and weight > 0):
        raise UpdateError(f"cannot average with weight {weight}, expected a positive number")
    return PartialMean(
        _cut(np.multiply(tensor, weight, dtype=np.float64)), _cut(np.array(weight, np.float64))
    )


def _cut(numbers: Float64Array) -> Binned:
    coarse = np.rint(numbers / COARSE) * COARSE
    return Binned(coarse, np.rint((numbers - coarse) / FINE) * FINE)
