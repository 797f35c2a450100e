"""What an aggregation takes (contributions of clients) and gives (factors and their error)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.weighted_mean import Float64Array, weighted_mean


@dataclass(frozen=True)
class Contribution:
    """One client's part: factors start + delta, whose product counts `scale` (alpha / r) times.

    weight: its examples; factor: how many times its change counts (a protection lowers it); `start` and
    `delta` may be lazy: an aggregation reads them module by module.
    """

    client: str
    weight: float
    start: Params
    delta: Params
    scale: float
    factor: float = 1.0


@dataclass(frozen=True)
class Aggregated:
    """The new global factors, and ‖aggregate − target‖_F / ‖target‖_F over moved modules."""

    params: dict[str, FloatArray]
    error: float


Reach = Callable[[Params, Sequence[Contribution]], Sequence[float]]
"""Gives the lengths of contributions' changes in the space in which a rule is linear."""


@dataclass(frozen=True)
class Points:
    """One vector for each client, for runs whose updates are coefficients.

    clients: their names, in order; weights (n,), adding up to 1; points (n, K), float64.
    """

    clients: tuple[str, ...]
    weights: Float64Array
    points: Float64Array


def weighted(points: Points) -> Float64Array:
    """Return the weighted mean of the points, (K,)."""
    return weighted_mean(zip(points.weights.tolist(), points.points, strict=True))


@dataclass(frozen=True)
class Aggregation:
    """aggregate(start, scale, contributions); start, scale: the global factors and their alpha / r.

    combine(points) is the same rule for coefficients of seeds; reach: how far contributions move the model,
    for those who bound it (none: by the change of their products). Both raise UpdateError where the
    contributions cannot be combined by this rule. coordinates: whether it looks at each number alone, so
    that all clients must have moved the same ones.
    """

    aggregate: Callable[[Params, float, Sequence[Contribution]], Aggregated]
    combine: Callable[[Points], Float64Array] = weighted
    reach: Reach | None = None
    coordinates: bool = False


def shares(contributions: Sequence[Contribution]) -> list[tuple[float, Contribution]]:
    """Return each contribution with its share of the weight, in client order.

    Raises UpdateError for none at all, a client that appears twice, or a weight that is not
    positive.
    """
    ordered = sorted(contributions, key=lambda each: each.client)
    normalised = normalise({each.client: each.weight for each in ordered})
    if len(normalised) != len(ordered):
        raise UpdateError("a client contributes twice to one round: fold each client's update once")
    return [(normalised[each.client], each) for each in ordered]


def normalise(weights: dict[str, float]) -> dict[str, float]:
    """Divide the weights by their sum. Raises UpdateError for none, or one that is not positive."""
    if not weights:
        raise UpdateError(
            "there is nothing to aggregate: a round is folded with at least one update"
        )
    for client, weight in weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise UpdateError(f"client {client} has weight {weight}, expected a positive number")
    total = math.fsum(weights.values())
    return {client: weight / total for client, weight in weights.items()}
