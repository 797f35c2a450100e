"""Who goes on from one asynchronous round into the next one, and who is called off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from antiphon.core.events import TRAINING
from antiphon.server.machine.actions import CancelAssignment, Step
from antiphon.server.machine.run_state import RunState, Status, slots


def still_valid(
    state: RunState, number: int, max_staleness: int | None, statuses: tuple[Status, ...]
) -> tuple[str, ...]:
    """Return the members in one of these statuses whose update round `number` may fold."""
    if max_staleness is None or number > state.run.rounds:
        return ()
    return tuple(
        name
        for name, slot in slots(state).items()
        if slot.status in statuses and number - slot.base <= max_staleness
    )


def call_off(state: RunState, but: Iterable[str], why: str = "") -> Step:
    """Carry these members over, and call off the others who are at work."""
    kept = {name: slots(state)[name] for name in but}
    others = sorted(slots(state).items() - kept.items(), key=lambda each: each[0])
    cut = ((name, slot.base) for name, slot in others if slot.status == "assigned")
    cancelled = (CancelAssignment(n, base, why, state.exchange) for n, base in cut)
    return replace(state, carried=kept), tuple(cancelled)


def why_called_off(state: RunState, cause: str) -> str:
    """Return why members are called off; to be one more than a round needed is nothing that went wrong."""
    if 0 < state.enough <= state.counts["accepted"]:
        if state.max_staleness is None:
            return ""
        cause = "its update would have been too stale for the next one"
    if state.exchange != TRAINING:
        return f"the exchange {state.exchange} closed before its answer: {cause}"
    return f"the round closed before its update: {cause}"
