"""What an aggregation takes (contributions of clients) and gives (factors and their error)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.core.types import Float64Array, FloatArray, Package, Params


@dataclass(frozen=True)
class Contribution:
    """One client's part: start + delta; of factors, the product counts `scale` (alpha / r) times.

    weight: its examples; factor: how many times its change counts (a protection lowers it); staleness:
    rounds since it began; loss: its mean training loss, as far as it told; sent: what arrived. `start` and
    `delta` may be lazy: an aggregation reads them tensor by tensor.
    """

    client: str
    weight: float
    start: Any
    delta: Any
    scale: float
    factor: float = 1.0
    staleness: int = 0
    loss: float | None = None
    sent: Package | None = None


Tensors = Mapping[str, npt.NDArray[Any]]
"""A point of a space, or a delta in it, by name."""

LeftOut = Mapping[str, npt.NDArray[Any]]
"""What a reducer could not put into its delta, as factors by name."""


@dataclass(frozen=True)
class Carried:
    """What earlier rounds have left out. rank: of what this round may leave, 0: nobody asks; factors: by
    PEFT's names, float32, whose products are added to the sum; none of a module: nothing.
    """

    rank: int = 0
    factors: LeftOut = field(default_factory=dict)


NOTHING_CARRIED = Carried()


@dataclass(frozen=True)
class Reduced:
    """What a cohort makes together. error: ‖what was meant − delta‖ as a part of what was meant, NaN where
    nobody computed it; left_out: the difference itself, where it was asked for.
    """

    delta: Tensors
    error: float = math.nan
    left_out: LeftOut = field(default_factory=dict)


@dataclass(frozen=True)
class Aggregated:
    """The new global factors, and ‖aggregate − target‖_F / ‖target‖_F over moved modules; left_out: of the
    target, as factors, where somebody carries it on.
    """

    params: dict[str, FloatArray]
    error: float
    left_out: LeftOut = field(default_factory=dict)


Reach = Callable[[Params, Sequence[Contribution]], Sequence[float]]
"""Gives the lengths of contributions' changes in the space in which a rule is linear."""


Weigh = Callable[[Sequence[str], Float64Array, Float64Array], Float64Array]
"""(clients, weights, products) → coefficients (n,), none below zero.

clients: sorted names; weights (n,), adding up to 1; products (n, n), ⟨changeᵢ, changeⱼ⟩.
"""

Middle = Callable[[Float64Array], Float64Array]
"""(values (n, …), sorted along the first axis) → one value for each place (…)."""


@dataclass(frozen=True)
class Aggregation:
    """aggregate(start, scale, contributions); start, scale: the global factors and their alpha / r.

    In a space where a sum of deltas is a delta, a rule is a weighted mean unless it says otherwise: weigh
    gives other coefficients, middle looks at each number alone, so that all clients must have moved the
    same ones. reach: how far contributions of factors move the model, for those who bound it (none: by the
    change of their products); equal_ranks: factors of clients must have the global rank; carrying:
    aggregate takes what was carried on, a Carried, as a fourth argument. All raise UpdateError where this
    rule cannot combine the contributions.
    """

    aggregate: Callable[..., Aggregated]
    reach: Reach | None = None
    weigh: Weigh | None = None
    middle: Middle | None = None
    equal_ranks: bool = False
    carrying: bool = False


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
