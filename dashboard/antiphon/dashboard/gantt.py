"""Who did what and when in one round: from each assignment to its update, or to what came instead."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from antiphon.core import events
from antiphon.core.journal import Entry
from antiphon.server.machine.run_state import Status

BarEnding = Literal[
    "accepted", "working", "late", "cut off", "carried on", "failed", "rejected", "left"
]
"""How a client's work on a round ended.

working: the round is open; cut off: the round closed first; carried on: likewise, but it was asynchronous
and left the work to the next one; late: the update came after the round had closed.
"""

MOST_NAMED = 40
"""Clients whose rows are high enough for a name, and for the mark of the model."""

SLOW = 1.5
"""A straggler takes longer than this many times the median of the accepted updates."""

_ENOUGH = 2  # accepted updates from which a median says something
_MAY_DELIVER = ("failed", "left")


@dataclass(frozen=True)
class Span:
    """One client's work on a round, in seconds after its plan; what began in an earlier round is negative.

    model_s: when the model was there, if before the end (None: not known); reason: why it failed, was
    rejected or left; slow: a straggler.
    """

    client: str
    start_s: float
    end_s: float
    ending: BarEnding
    reason: str = ""
    model_s: float | None = None
    slow: bool = False


@dataclass(frozen=True)
class Members:
    """A round's cohort at its plan. base: the round in which each began; began_at: absolute seconds."""

    base: Mapping[str, int]
    began_at: Mapping[str, float]
    status: Mapping[str, Status]


@dataclass(frozen=True)
class Frame:
    """When a round was planned and took no more updates (None: it is open); absolute seconds.

    carries_on: it is asynchronous, and leaves unfinished work to the next one.
    """

    planned_at: float
    closed_at: float | None
    carries_on: bool = False


def spans_of(
    entries: Iterable[Entry], members: Members, frame: Frame, now: float
) -> tuple[Span, ...]:
    """Return what each member of a round's cohort did, stragglers marked; who ended last comes first.

    entries: those of the round; now: until when work in progress is drawn, absolute seconds.
    """
    round_ = _Round(members, frame)
    for entry in entries:
        round_.hear(entry)
    return _stragglers_marked(round_.all(now))


class _Round:
    """One round while its events are read. Spans that are open have the ending `working`."""

    def __init__(self, members: Members, frame: Frame) -> None:
        self.members, self.frame = members, frame
        self.spans: dict[str, list[Span]] = {}
        for client, status in members.status.items():
            self.open(client, members.began_at[client])
            if status == "accepted":
                self.end(client, frame.planned_at, "accepted")
            elif status == "left":
                self.end(client, frame.planned_at, "left", "not there when the round was planned")

    def open(self, client: str, at: float) -> None:
        start = at - self.frame.planned_at
        self.spans.setdefault(client, []).append(Span(client, start, start, "working"))

    def hear(self, entry: Entry) -> None:
        event, at = entry.event, entry.at_s
        match event:
            case events.ClientJoined(client=client):
                if self._ended_as(client, _MAY_DELIVER) and not self._has_closed(at):
                    self.open(client, at)
            case events.BytesMoved(client=client, direction="down", purpose="model"):
                self._mark_model(client, at)
            case events.UpdateReceived() if self._is_of(event):
                self._receive(event.client, at)
            case events.UpdateRejected() if self._is_of(event):
                self.end(event.client, at, "rejected", event.reason)
            case events.ClientFailed(exchange=events.TRAINING) if self._is_of(event):
                self.end(event.client, at, "failed", event.reason)
            case events.ClientLeft(client=client, reason=reason):
                self.end(client, at, "left", reason)
            case events.ClientRevoked(client=client):
                if self._ended_as(client, ("working", "accepted")) and not self._has_closed(at):
                    last = self.spans[client][-1]
                    end = max(last.start_s, min(last.end_s, at - self.frame.planned_at))
                    end = at - self.frame.planned_at if last.ending == "working" else end
                    self.spans[client][-1] = replace(
                        last, end_s=end, ending="rejected", reason="revoked"
                    )

    def end(self, client: str, at: float, ending: BarEnding, reason: str = "") -> None:
        if self._is_open(client):
            end = at - self.frame.planned_at
            last = self.spans[client][-1]
            self.spans[client][-1] = replace(last, end_s=end, ending=ending, reason=reason)

    def _mark_model(self, client: str, at: float) -> None:
        if self._is_open(client):
            last = self.spans[client][-1]
            self.spans[client][-1] = replace(last, model_s=at - self.frame.planned_at)

    def all(self, now: float) -> list[Span]:
        closed_at = self.frame.closed_at
        until = (now if closed_at is None else closed_at) - self.frame.planned_at
        unfinished: BarEnding = "carried on" if self.frame.carries_on else "cut off"
        ending: BarEnding = "working" if closed_at is None else unfinished
        for client in self.spans:
            if self._is_open(client):
                last = self.spans[client][-1]
                end = max(until, last.start_s)
                self.spans[client][-1] = replace(last, end_s=end, ending=ending)
        found = [_checked(span) for spans in self.spans.values() for span in spans]
        return sorted(found, key=lambda each: (-each.end_s, each.client))

    def _receive(self, client: str, at: float) -> None:
        if self._has_closed(at) and self.frame.carries_on:
            return  # it counts in the next round
        if self._ended_as(client, _MAY_DELIVER):
            since = self.spans[client][-1].end_s
            self.spans[client].append(Span(client, since, since, "working"))
        self.end(client, at, "late" if self._has_closed(at) else "accepted")

    def _is_of(
        self, event: events.UpdateReceived | events.UpdateRejected | events.ClientFailed
    ) -> bool:
        return self.members.base.get(event.client) == event.round

    def _has_closed(self, at: float) -> bool:
        return self.frame.closed_at is not None and at > self.frame.closed_at

    def _is_open(self, client: str) -> bool:
        return self._ended_as(client, ("working",))

    def _ended_as(self, client: str, endings: tuple[str, ...]) -> bool:
        spans = self.spans.get(client)
        return bool(spans) and spans is not None and spans[-1].ending in endings


def _checked(span: Span) -> Span:
    """Drop the moment of the model where it tells nothing: a simulation notes it at the end."""
    there = span.model_s is not None and span.start_s <= span.model_s < span.end_s
    return span if there else replace(span, model_s=None)


def _stragglers_marked(spans: list[Span]) -> tuple[Span, ...]:
    taken = [each.end_s - each.start_s for each in spans if each.ending == "accepted"]
    if len(taken) < _ENOUGH:
        return tuple(spans)
    limit = SLOW * statistics.median(taken)
    marked = ("accepted", "working", "late", "cut off", "carried on")
    return tuple(
        replace(each, slow=each.ending in marked and each.end_s - each.start_s > limit)
        for each in spans
    )
