"""What a run that was cut off had under way, from its journal: it goes on as if nothing had happened.

The virtual clock stands still while nobody runs it, so an assignment that was given at t is still one that
was given at t.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from antiphon.core.events import (
    MEASURING,
    AnswerReceived,
    BytesMoved,
    ClientFailed,
    ClientLeft,
    ClientRevoked,
    Event,
    RunResumed,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.journal import Entry, Journal
from antiphon.server.machine.actions import Action, Assign, CancelAssignment
from antiphon.server.machine.round import step
from antiphon.server.machine.run_state import RunState


@dataclass(frozen=True)
class UnderWay:
    """An assignment that its client still has. at: virtual seconds when it was given."""

    at: float
    downloaded: bool = False


Assignments = dict[tuple[str, int], UnderWay]
"""By client and round."""


def under_way(entries: Iterable[Entry]) -> Mapping[tuple[str, int], UnderWay]:
    """Return the assignments that are out at the end of a journal."""
    state, out = RunState(), Assignments()
    for entry in entries:
        state, actions = step(state, entry.event, entry.at_s)
        _hear(out, entry.event)
        if not isinstance(entry.event, RunResumed):  # what it gives out again was given before
            _take_in(out, actions, entry.at_s)
    return out


def bytes_up(journal: Journal) -> int:
    """Return the bytes of all the updates that have been sent."""
    events = (entry.event for entry in journal.read(kinds=[BytesMoved]))
    return sum(
        each.bytes for each in events if isinstance(each, BytesMoved) and each.purpose == "update"
    )


def _hear(out: Assignments, event: Event) -> None:
    match event:
        case ClientFailed() if event.exchange == MEASURING:
            pass
        case (
            ClientLeft()
            | ClientRevoked()
            | ClientFailed()
            | UpdateReceived()
            | UpdateRejected()
            | AnswerReceived()
        ):
            for key in [key for key in out if key[0] == event.client]:
                del out[key]
        case BytesMoved(direction="down") if (event.client, event.round) in out:
            key = event.client, event.round
            out[key] = replace(out[key], downloaded=True)


def _take_in(out: Assignments, actions: Iterable[Action], now: float) -> None:
    for action in actions:
        if isinstance(action, Assign | CancelAssignment) and action.exchange == MEASURING:
            continue
        if isinstance(action, Assign):
            out[action.client, action.round] = UnderWay(now)
        elif isinstance(action, CancelAssignment):
            out.pop((action.client, action.round), None)
