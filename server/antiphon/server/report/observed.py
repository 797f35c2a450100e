"""What a run has measured beside its machine: bytes, scores, seconds and facts, as the events tell them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from antiphon.core import events
from antiphon.core.types import Plain
from antiphon.server.report.training_bytes import TrainingBytes

Way = tuple[int, str, str]
"""Round, direction (`up` is to the coordinator) and purpose of bytes."""


class Observed:
    """The observations of a journal, while it is read.

    facts: newer ones replace older ones; peak: bytes of memory, the most of all processes; evaluated: by
    round and client; means: what each evaluation that was finished said itself; moved: bytes; by_client:
    bytes by client and direction; training: those of training; phases: seconds by round and phase; seconds:
    the time in which an engine was running, on its clock.
    """

    def __init__(self) -> None:
        """Begin before the first event."""
        self.facts: dict[str, Plain] = {}
        self.peak: int | None = None
        self.evaluated: defaultdict[int, dict[str, events.Evaluated]] = defaultdict(dict)
        self.means: dict[int, Mapping[str, float]] = {}
        self.moved: Counter[Way] = Counter()
        self.by_client: Counter[tuple[str, str]] = Counter()
        self.training = TrainingBytes()
        self.phases: defaultdict[int, dict[str, float]] = defaultdict(dict)
        self.seconds = 0.0
        self._clock: float | None = None

    def moves(self, event: events.BytesMoved, now: float, *, trains: bool) -> None:
        """Take bytes in. trains: if they are a model's, its client was asked to train from it."""
        self._pass(event, now)
        self.moved[event.round, event.direction, event.purpose] += event.bytes
        self.by_client[event.client, event.direction] += event.bytes
        if event.purpose == "update":
            self.training.update(event.round, event.bytes)
        elif event.purpose == "model":
            self.training.model(event.round, event.client, event.bytes, trains=trains)

    def hear(self, event: events.Event, now: float) -> None:
        """Take any other entry in."""
        self._pass(event, now)
        match event:
            case events.Evaluated():
                self.evaluated[event.round][event.client] = event
            case events.RoundEvaluated():
                self.means[event.round] = event.metrics
            case events.RoundUndone():
                self.means.setdefault(event.round, {})
            case events.RoundPlanned():
                self.training.planned(event.round, event.cohort)
            case events.PhaseTimed():
                phases = self.phases[event.round]
                phases[event.phase] = phases.get(event.phase, 0.0) + event.seconds
            case events.RunDescribed():
                self.facts.update(event.facts)
                peaks = (self.peak, integer_fact(event.facts, "peak_memory_bytes"))
                self.peak = max((each for each in peaks if each is not None), default=None)

    def has_scores(self, number: int) -> bool:
        """Whether the evaluation after a round was finished, and measured anything."""
        return bool(self.means.get(number)) or (
            number in self.means and bool(self.evaluated.get(number))
        )

    def _pass(self, event: events.Event, now: float) -> None:
        """Let the clock go on; the time before a run is taken up again is nobody's."""
        if self._clock is not None and now > self._clock and type(event) is not events.RunResumed:
            self.seconds += now - self._clock
        self._clock = now


def integer_fact(facts: Mapping[str, Plain], name: str) -> int | None:
    """Return a fact of the run as a whole number; None where it is missing or no finite number."""
    value = facts.get(name)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None
