"""What a run has learned: loss and accuracy by round, per client and their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from antiphon.core.events import Evaluated
from antiphon.server.report.chronicle import Chronicle

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


def means(run: Chronicle) -> tuple[Curve, ...]:
    """Return the mean over clients of each measure; unweighted, as in the report."""
    numbers = sorted(each for each in run.observed.means if run.observed.has_scores(each))
    return tuple(
        _curve(measure, None, numbers, [_mean(run, number, measure) for number in numbers])
        for measure in MEASURES
    )


def same_clients(run: Chronicle) -> bool:
    """Say whether the first and the last evaluation whose model stands are of the same clients."""
    numbers = sorted(
        each for each in run.observed.means if run.observed.has_scores(each) and run.stands(each)
    )
    measured = [
        set(run.observed.evaluated[each]) for each in numbers if run.observed.evaluated.get(each)
    ]
    return not measured or measured[0] == measured[-1]


def client_curves(run: Chronicle, clients: Sequence[str]) -> tuple[Curve, ...]:
    """Return each measure of each of these clients."""
    numbers = sorted(run.observed.evaluated)
    return tuple(
        _curve(
            measure,
            client,
            numbers,
            [_value(run.observed.evaluated[number].get(client), measure) for number in numbers],
        )
        for measure in MEASURES
        for client in clients
    )


def spreads(run: Chronicle) -> tuple[Spread, ...]:
    """Return the spread of each measure over the clients."""
    return tuple(_spread(run, measure) for measure in MEASURES)


def _spread(run: Chronicle, measure: Measure) -> Spread:
    found: list[tuple[int, float, float]] = []
    for number in sorted(run.observed.evaluated):
        values = _values(run, number, measure)
        if values:
            low, high = np.percentile(values, (10, 90))
            found.append((number, float(low), float(high)))
    rounds, low_values, high_values = zip(*found, strict=True) if found else ((), (), ())
    return Spread(measure, tuple(rounds), tuple(low_values), tuple(high_values))


def _mean(run: Chronicle, number: int, measure: Measure) -> float | None:
    if not run.observed.evaluated.get(number):
        return run.observed.means[number].get(measure)
    values = _values(run, number, measure)
    return sum(values) / len(values) if values else None


def _values(run: Chronicle, number: int, measure: Measure) -> list[float]:
    found = (_value(each, measure) for each in run.observed.evaluated[number].values())
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
