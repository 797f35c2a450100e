"""Measuring: the exchange that asks whoever is free how good the model is that has come of a round.

It needs no answers: it is over when nobody is waited for any more, at its deadline at the latest. Who fails
or leaves is not waited for; who is back meanwhile is asked again.
"""

from __future__ import annotations

from dataclasses import replace

from antiphon.core.events import MEASURING, Evaluated
from antiphon.server.machine.actions import Action, Assign, CancelAssignment, Conclude, Reply, Step
from antiphon.server.machine.run_state import (
    RunState,
    Slot,
    Status,
    changed,
    idle,
    is_assigned,
    is_measuring,
    measuring_terms,
)
from antiphon.server.machine.terms import Terms


def begin(state: RunState, now: float) -> Step:
    """Ask for measurements of the round's model; where nobody is asked, what there is is taken together."""
    terms = measuring_terms(state)
    asked = () if terms is None else _who(state, terms)
    opened = replace(
        state,
        phase="evaluating",
        measuring={each: Slot("assigned", state.round) for each in asked},
        measurers=len(asked),
    )
    if terms is not None and asked:
        opened = replace(opened, deadline=now + terms.deadline_s, deadline_s=terms.deadline_s)
    return opened, awaited(opened)


def awaited(state: RunState) -> tuple[Action, ...]:
    """Return what a state that evaluates waits for an engine to do."""
    asked = sorted(name for name, slot in state.measuring.items() if slot.status == "assigned")
    return tuple(_ask(state, each) for each in asked) or (Conclude(state.round),)


def take(state: RunState, event: Evaluated) -> Step:
    """Take a measurement that is waited for; any other one is passed over."""
    if not is_assigned(state, event.client, event.round, MEASURING):
        return state, ()
    reply = Reply(event.client, event.round, "accepted", exchange=MEASURING)
    after, following = gone(state, event.client, "accepted", "")
    return after, (reply, *following)


def gone(state: RunState, client: str, status: Status, reason: str) -> Step:
    """Wait for a client no more; if it was the last one, what was measured is taken together."""
    if not is_assigned(state, client, state.round, MEASURING):
        return state, ()
    measuring = {**state.measuring, client: Slot(status, state.round, reason)}
    after = changed(state, measuring=measuring, measurers=state.measurers - 1)
    return after, () if is_measuring(after) else (Conclude(state.round),)


def back(state: RunState, client: str) -> Step:
    """Ask a client again that has left while others measure."""
    slot = state.measuring.get(client)
    if slot is None or slot.status != "left" or not is_measuring(state):
        return state, ()
    measuring = {**state.measuring, client: Slot("assigned", state.round)}
    after = replace(state, measuring=measuring, measurers=state.measurers + 1)
    return after, (_ask(after, client),)


def close(state: RunState, why: str = "") -> Step:
    """Call off whoever still measures. why: what went wrong, if anything."""
    cut = sorted(name for name, slot in state.measuring.items() if slot.status == "assigned")
    cancelled = tuple(CancelAssignment(each, state.round, why, MEASURING) for each in cut)
    failed = {each: Slot("failed", state.round, why) for each in cut}
    return replace(state, measuring={**state.measuring, **failed}, measurers=0), cancelled


def _who(state: RunState, terms: Terms) -> tuple[str, ...]:
    if not terms.everyone:
        return idle(state)
    return tuple(sorted(name for name, each in state.clients.items() if not each.revoked))


def _ask(state: RunState, client: str) -> Assign:
    return Assign(client, state.round, state.deadline, MEASURING)
