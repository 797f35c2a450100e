"""A run's start and end over the same clients: a mean over others tells nothing about learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from antiphon.server.report.report_types import Evaluation, Report

Score = Literal["loss", "accuracy", "exact_match", "rouge_l"]


@dataclass(frozen=True)
class Compared:
    """A score before and after training; None: not measured, or no finite number.

    first is None too where no client was measured both times.
    """

    first: float | None
    last: float | None


def compared(report: Report, score: Score) -> Compared:
    """Return a score of the untouched and of the final model, over the clients that have both."""
    before, after = report["initial"], report["final"]
    if before is None or after is None:
        return Compared(before[score] if before else None, after[score] if after else None)
    if not _other_clients(before, after):
        return Compared(before[score], after[score])
    both = in_both(before, after)
    if not both:
        return Compared(None, after[score])
    return Compared(
        _mean([before["per_client"][name][score] for name in both]),
        _mean([after["per_client"][name][score] for name in both]),
    )


def in_both(before: Evaluation, after: Evaluation) -> list[str]:
    """Return the clients that two evaluations measured, sorted."""
    return sorted(before["per_client"].keys() & after["per_client"].keys())


def clients_said(report: Report) -> str:
    """Return over which clients `compared` compares, where start and end are of different ones."""
    before, after = report["initial"], report["final"]
    if before is None or after is None or not _other_clients(before, after):
        return ""
    both, first, last = in_both(before, after), before["per_client"], after["per_client"]
    if not both:
        return f"none of the {len(last)} clients was measured before training"
    return f"the {len(both)} measured both times, of {len(first)} before and {len(last)} after"


def _other_clients(before: Evaluation, after: Evaluation) -> bool:
    """Say whether two evaluations are known to be of different clients."""
    first, last = before["per_client"].keys(), after["per_client"].keys()
    return bool(first) and bool(last) and first != last


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(values) if len(measured) == len(values) else None
