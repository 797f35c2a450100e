"""A run's journal as far as it has been read; what is appended later is read on top.

The counting is the report's (server/tally.py). Beside it stands what a report does not tell: when each
round was planned, closed and over, and when each client was heard last.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, replace

from antiphon.core import events
from antiphon.core.journal import Entry
from antiphon.core.types import Plain
from antiphon.dashboard.gantt import Members
from antiphon.dashboard.reading import BEGINNING, Fetched, News, Way
from antiphon.server.bench import pause_s
from antiphon.server.tally import RoundTally, Tally


@dataclass(frozen=True)
class Moments:
    """When a round was planned, took no more updates, and was over (None: not yet).

    Times are absolute seconds on the engine's clock; first_seq, last_seq: its entries in the journal;
    members: its cohort when it was planned.
    """

    planned_at: float
    first_seq: int
    last_seq: int
    members: Members
    closed_at: float | None = None
    over_at: float | None = None


class History:
    """One journal's content, growing. It belongs to one thread at a time."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self.tally = Tally()
        self.place = BEGINNING
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.moments: dict[int, Moments] = {}
        self.moved: Counter[Way] = Counter()
        self.described: dict[str, dict[str, Plain]] = {}
        self.heard_at: dict[str, float] = {}
        self.enough = False
        """Whether the clients that the run needs have been there since it last waited for them."""

    def take(self, news: News) -> None:
        """Take in what was appended."""
        models = deque(news.models)
        for entry in news.entries:
            self._fetch(models, entry.seq)
            self._read(entry)
        self._fetch(models, news.place.seq + 1)
        for (number, _, purpose), size in news.moved.items():
            if purpose == "update":
                self.tally.moved_for(number, "", purpose, size)
        self.moved += news.moved
        self.place = news.place
        if self.tally.last is not None:
            number = self.tally.last.planned.round
            self.moments[number] = replace(self.moments[number], last_seq=news.place.seq)

    def _fetch(self, models: deque[Fetched], before: int) -> None:
        """Take in the models that were fetched before an entry."""
        while models and models[0][0] < before:
            _, number, client, size = models.popleft()
            self.tally.moved_for(number, client, "model", size)

    def _read(self, entry: Entry) -> None:
        event, now, tally = entry.event, entry.at_s, self.tally
        before, had_ended = tally.last, tally.end is not None
        phase = before.phase if before else None
        # A round whose deadline has passed closes before the event is heard.
        is_due = before is not None and phase == "collecting" and now >= before.deadline
        here_before = self._has_enough()
        tally.read(entry)
        self.first_at = now if self.first_at is None else self.first_at
        self.last_at = now
        if isinstance(event, events.RoundPlanned):
            self._plan(event, entry)
        moved_on = tally.last is not None and (
            tally.last is not before or tally.last.phase != phase
        )
        if tally.last is not None and moved_on:
            self._note_phase(tally.last, now)
        self._hear(event, now)
        untouched = isinstance(event, events.RoundEvaluated) and event.round == 0
        over = moved_on and tally.last is not None and tally.last.phase == "over"
        waits_anew = over or untouched or (had_ended and tally.end is None)
        ready = now >= tally.not_before
        paused_until = before.opened + pause_s(tally.failed_in_a_row) if before else 0.0
        at_close = is_due and over and here_before and now >= paused_until
        self.enough = (self._has_enough() and ready) or at_close or (self.enough and not waits_anew)

    def _plan(self, planned: events.RoundPlanned, entry: Entry) -> None:
        number = planned.round
        before = self.moments.get(number - 1)
        if before is not None:
            self.moments[number - 1] = replace(before, last_seq=entry.seq - 1)
        base = self.tally.rounds[number].base
        began = {client: self._planned_at(each, entry.at_s) for client, each in base.items()}
        members = Members(dict(base), began, dict(self.tally.rounds[number].status))
        self.moments[number] = Moments(entry.at_s, entry.seq, entry.seq, members)

    def _planned_at(self, number: int, default: float) -> float:
        return self.moments[number].planned_at if number in self.moments else default

    def _note_phase(self, last: RoundTally, now: float) -> None:
        known = self.moments[last.planned.round]
        if last.phase != "collecting" and known.closed_at is None:
            # A deadline is heard of with the next event, however late that is.
            known = replace(known, closed_at=min(now, last.deadline))
        if last.phase == "over":
            known = replace(known, over_at=now)
        self.moments[last.planned.round] = known

    def _hear(self, event: events.Event, now: float) -> None:
        match event:
            case (
                events.ClientJoined()
                | events.UpdateReceived()
                | events.UpdateRejected()
                | events.ClientFailed()
                | events.Evaluated()
            ):
                self.heard_at[event.client] = now
            case events.ClientDescribed():
                self.described[event.client] = dict(event.facts)
                self.heard_at[event.client] = now

    def _has_enough(self) -> bool:
        started = self.tally.started
        return started is not None and len(self.tally.present) >= started.min_clients
