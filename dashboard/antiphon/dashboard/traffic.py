"""Bytes on the wire by round, direction and purpose, and what dense float32 would have cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.server.report.chronicle import Chronicle, RoundRecord
from antiphon.server.report.observed import Way

_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class TrafficRow:
    """Bytes of one round that went one way for one purpose. direction: `up` is to the coordinator."""

    round: int
    direction: str
    purpose: str
    bytes: int


@dataclass(frozen=True)
class Sums:
    """Bytes both ways, of a round or a run; None: no event tells of them.

    training: those of updates, and of models that were trained from; dense: the same models and accepted
    updates as dense float32, uncompressed, of rounds that are over; None: not known, or no update was
    accepted, so that there is nothing that was saved.
    """

    up: int | None
    down: int | None
    training: int | None
    dense: int | None

    @property
    def all(self) -> int | None:
        """Both ways."""
        return None if self.up is None or self.down is None else self.up + self.down


def rows(moved: Mapping[Way, int]) -> tuple[TrafficRow, ...]:
    """Return the bytes in the order of the rounds."""
    return tuple(TrafficRow(*way, size) for way, size in sorted(moved.items()))


def sums_by_round(run: Chronicle, trained: int | None) -> dict[int, Sums]:
    """Return the bytes of each round. trained: numbers that the run trains; None: not known."""
    moved, training = run.observed.moved, run.observed.training
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for (number, direction, _), size in moved.items():
        found[number][direction] += size
    return {
        number: Sums(
            found[number]["up"] if moved else None,
            found[number]["down"] if moved else None,
            training.by_round[number] if moved else None,
            _dense(each, trained),
        )
        for number, each in run.rounds.items()
    }


def sums_of_run(run: Chronicle, trained: int | None) -> Sums:
    """Return the bytes of the whole run, those before its first round too."""
    moved, training = run.observed.moved, run.observed.training
    up, down = (
        sum(size for way, size in moved.items() if way[1] == each) if moved else None
        for each in ("up", "down")
    )
    return Sums(up, down, training.whole() if moved else None, _of_run(run, trained))


def _of_run(run: Chronicle, trained: int | None) -> int | None:
    sent = run.tensors_sent()
    return _FLOAT32_BYTES * trained * sent if trained and sent else None


def _dense(each: RoundRecord, trained: int | None) -> int | None:
    """Return the bytes of a model for each of the cohort and of each accepted update."""
    accepted = len(each.accepted)
    if trained is None or not accepted or each.ended is None:
        return None
    return _FLOAT32_BYTES * trained * (accepted + len(each.members))
