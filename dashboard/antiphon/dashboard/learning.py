"""What a run has learned: loss and accuracy by round, per client and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from antiphon.core.events import Evaluated
from antiphon.server.tally import Tally

Measure = Literal["loss", "accuracy"]
MEASURES: tuple[Measure, ...] = ("loss", "accuracy")

MOST_LINES = 24
"""Clients that are drawn as lines of their own; of more, the spread is shown."""


@dataclass(frozen=True)
class Curve:
    """One measure over the rounds. rounds, values: of equal length; a round without a number is left out.

    client: whose; none: the mean over clients.
    """

    measure: Measure
    client: str | None
    rounds: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Spread:
    """Where a measure lies among the clients: the 10th and the 90th percentile by round."""

    measure: Measure
    rounds: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def means(tally: Tally) -> tuple[Curve, ...]:
    """Return the mean over clients of each measure; unweighted, as in the report."""
    numbers = sorted(each for each in tally.means if _measured(tally, each))
    return tuple(
        _curve(measure, None, numbers, [_mean(tally, number, measure) for number in numbers])
        for measure in MEASURES
    )


def same_clients(tally: Tally) -> bool:
    """Say whether the first and the last evaluation whose model stands are of the same clients."""
    numbers = sorted(each for each in tally.means if _measured(tally, each) and tally.stands(each))
    measured = [set(tally.evaluated[each]) for each in numbers if tally.evaluated.get(each)]
    return not measured or measured[0] == measured[-1]


def client_curves(tally: Tally, clients: Sequence[str]) -> tuple[Curve, ...]:
    """Return each measure of each of these clients."""
    numbers = sorted(tally.evaluated)
    return tuple(
        _curve(
            measure,
            client,
            numbers,
            [_value(tally.evaluated[number].get(client), measure) for number in numbers],
        )
        for measure in MEASURES
        for client in clients
    )


def spreads(tally: Tally) -> tuple[Spread, ...]:
    """Return the spread of each measure over the clients."""
    return tuple(_spread(tally, measure) for measure in MEASURES)


def _spread(tally: Tally, measure: Measure) -> Spread:
    found: list[tuple[int, float, float]] = []
    for number in sorted(tally.evaluated):
        values = _values(tally, number, measure)
        if values:
            low, high = np.percentile(values, (10, 90))
            found.append((number, float(low), float(high)))
    rounds, low_values, high_values = zip(*found, strict=True) if found else ((), (), ())
    return Spread(measure, tuple(rounds), tuple(low_values), tuple(high_values))


def _measured(tally: Tally, number: int) -> bool:
    return bool(tally.means[number] or tally.evaluated.get(number))


def _mean(tally: Tally, number: int, measure: Measure) -> float | None:
    if not tally.evaluated.get(number):
        return tally.means[number].get(measure)
    values = _values(tally, number, measure)
    return sum(values) / len(values) if values else None


def _values(tally: Tally, number: int, measure: Measure) -> list[float]:
    found = (_value(each, measure) for each in tally.evaluated[number].values())
    return [value for value in found if value is not None and math.isfinite(value)]


def _value(measured: Evaluated | None, measure: Measure) -> float | None:
    if measured is None:
        return None
    return measured.loss if measure == "loss" else measured.accuracy


def _curve(
    measure: Measure, client: str | None, numbers: Sequence[int], values: Sequence[float | None]
) -> Curve:
    known = [
        (number, value)
        for number, value in zip(numbers, values, strict=True)
        if value is not None and math.isfinite(value)
    ]
    return Curve(measure, client, tuple(n for n, _ in known), tuple(v for _, v in known))
