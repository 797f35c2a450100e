"""Folding where a sum of deltas is a delta: coefficients of seeds, a factor whose partner stands still.

The mean of such deltas is exact, and so is every rule that is one; a plain mean has the same bits in
whatever parts and order it is taken. One tensor of all clients is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from antiphon.core.types import Float64Array
from antiphon.strategies.aggregation.contribution import (
    Aggregation,
    Contribution,
    Reduced,
    Tensors,
    shares,
)
from antiphon.strategies.aggregation.partial_mean import PartialMean, partial_mean
from antiphon.strategies.aggregation.weighted_mean import weighted_mean

_TOGETHER = 1 << 14  # numbers


def reduce_additive(
    rule: Aggregation, start: Tensors, contributions: Sequence[Contribution]
) -> Reduced:
    """Return the delta that a rule makes, in the dtypes of `start`. Raises UpdateError, see `shares`."""
    ordered = shares(contributions)
    if rule.weigh is not None:
        cohort = [each for _, each in ordered]
        weights = np.array([share for share, _ in ordered])
        names = [each.client for each in cohort]
        weighed = rule.weigh(names, weights, delta_products(start, cohort))
        ordered = list(zip(weighed.tolist(), cohort, strict=True))
    found: Iterable[tuple[str, Float64Array]]
    if rule.weigh is None and rule.middle is None:
        found = _plain_means(start, [each for _, each in ordered])
    else:
        found = ((name, _combined(rule, name, ordered)) for name in start)
    delta = {name: each.astype(start[name].dtype, copy=False) for name, each in found}
    return Reduced(delta, 0.0 if rule.weigh is None and rule.middle is None else math.nan)


def partial_sum(names: Sequence[str], contributions: Sequence[Contribution]) -> PartialMean:
    """Return what contributions give to the plain mean of some tensors, (numbers of all,): one behind the
    other. Such parts add up.
    """
    return partial_mean(
        (
            each.weight,
            each.factor * np.concatenate([_wide(each.delta[name]).reshape(-1) for name in names]),
        )
        for each in contributions
    )


def delta_norms(start: Tensors, contributions: Sequence[Contribution]) -> list[float]:
    """Return the L2 norm of each contribution's delta over all tensors, its factor included."""
    return [
        each.factor
        * math.hypot(*(float(np.linalg.norm(_wide(each.delta[name]))) for name in start))
        for each in contributions
    ]


def delta_products(start: Tensors, contributions: Sequence[Contribution]) -> Float64Array:
    """Return ⟨deltaᵢ, deltaⱼ⟩ over all tensors, (n, n), factors included."""
    total: Float64Array = np.zeros((len(contributions),) * 2)
    for name in start:
        stacked = _stacked(name, contributions)
        total += stacked @ stacked.T
    return total


def _combined(
    rule: Aggregation, name: str, ordered: Sequence[tuple[float, Contribution]]
) -> Float64Array:
    if rule.middle is not None:
        stacked = _stacked(name, [each for _, each in ordered])
        whole = np.shape(ordered[0][1].delta[name])
        return rule.middle(np.sort(stacked, axis=0)).reshape(whole)
    return weighted_mean((part, each.factor * _wide(each.delta[name])) for part, each in ordered)


def _plain_means(
    start: Tensors, contributions: Sequence[Contribution]
) -> Iterator[tuple[str, Float64Array]]:
    for names in _windows(start):
        flat, begin = partial_sum(names, contributions).value(), 0
        for name in names:
            end = begin + start[name].size
            yield name, flat[begin:end].reshape(start[name].shape)
            begin = end


def _windows(start: Tensors) -> Iterator[list[str]]:
    """Yield names whose tensors have so many numbers together, or are alone: a small one costs its call."""
    names, numbers = list[str](), 0
    for name in start:
        if names and numbers + start[name].size > _TOGETHER:
            yield names
            names, numbers = [], 0
        names.append(name)
        numbers += start[name].size
    if names:
        yield names


def _stacked(name: str, contributions: Sequence[Contribution]) -> Float64Array:
    """Return one tensor of all clients, float64 (n, numbers)."""
    return np.stack([each.factor * _wide(each.delta[name]).reshape(-1) for each in contributions])


def _wide(tensor: Float64Array) -> Float64Array:
    return tensor.astype(np.float64, copy=False)
