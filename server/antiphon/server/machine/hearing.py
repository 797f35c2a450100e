"""What a client's word changes: it joins or leaves, delivers, fails. Nothing here ever raises."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from antiphon.core.events import (
    MEASURING,
    TRAINING,
    AnswerReceived,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    Evaluated,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.server.machine import measuring
from antiphon.server.machine.actions import Assign, Reply, Step
from antiphon.server.machine.bench import after_failure, is_benched
from antiphon.server.machine.run_state import (
    MAY_DELIVER,
    ON_THE_WAY,
    Member,
    Receipt,
    RunState,
    Slot,
    Status,
    changed,
    next_plan,
    slot_of,
    slots,
)
from antiphon.server.machine.verdict import Verdict, judge, judge_answer

FromClients = (
    ClientJoined
    | ClientLeft
    | ClientRevoked
    | UpdateReceived
    | UpdateRejected
    | AnswerReceived
    | ClientFailed
    | Evaluated
)
"""Events that a client can cause, or the operator about one: none raises, whatever it says and whenever."""


def hear(state: RunState, event: FromClients) -> Step:
    """Return the state after what a client has caused, and what the engine must do about it."""
    match event:
        case UpdateReceived():
            return _receive(state, event)
        case AnswerReceived():
            return _take_answer(state, event)
        case Evaluated():
            return measuring.take(state, event)
        case ClientJoined():
            joined, given = _join(state, event)
            again, asked = measuring.back(joined, event.client)
            return again, (*given, *asked)
        case ClientLeft():
            return measuring.gone(_leave(state, event), event.client, "left", event.reason)
        case ClientRevoked():
            return measuring.gone(_revoke(state, event), event.client, "rejected", "revoked")
        case UpdateRejected():
            return _refuse(state, event)
        case ClientFailed() if event.exchange == MEASURING:
            if event.round == state.round:
                return measuring.gone(state, event.client, "failed", event.reason)
        case ClientFailed() if _is_of_its_slot(state, event):
            failed = _benched(state, event)
            return _with_slot(failed, event.client, ON_THE_WAY, "failed", event.reason), ()
    return state, ()


def assign(state: RunState, client: str) -> Assign:
    """Return the assignment of a client that has a slot."""
    deadline = state.deadline if state.max_staleness is None else math.inf
    return Assign(client, slots(state)[client].base, deadline, state.exchange)


def _join(state: RunState, event: ClientJoined) -> Step:
    before = state.clients.get(event.client)
    clients = {**state.clients, event.client: Member(event.examples, present=True)}
    joined = replace(state, clients=clients)
    if before is not None and before.present:
        return joined, ()
    if not is_benched(state.benches, event.client, next_plan(state)):
        joined = replace(joined, not_before=0.0)  # it may be what the rounds before have lacked
    again = _with_slot(joined, event.client, ("left", "failed"), "assigned", "")
    if again == joined:
        return joined, ()
    return again, (assign(again, event.client),)


def _leave(state: RunState, event: ClientLeft) -> RunState:
    member = state.clients.get(event.client)
    if member is None:
        return state
    clients = {**state.clients, event.client: replace(member, present=False)}
    left = replace(state, clients=clients)
    return _with_slot(left, event.client, ("assigned",), "left", event.reason)


def _revoke(state: RunState, event: ClientRevoked) -> RunState:
    member = state.clients.get(event.client)
    if member is None:
        return state
    clients = {**state.clients, event.client: replace(member, present=False, revoked=True)}
    revoked = replace(state, clients=clients)
    if state.phase in ("collecting", "combining") and TRAINING in state.answers:
        left = {
            name: each for name, each in state.answers[TRAINING].items() if name != event.client
        }
        revoked = replace(revoked, answers={**state.answers, TRAINING: left})
    return _with_slot(revoked, event.client, (*MAY_DELIVER, "accepted"), "rejected", "revoked")


def _benched(state: RunState, event: ClientFailed | UpdateRejected) -> RunState:
    """Put a client on the bench, unless its part of the round has failed already."""
    slot = slot_of(state, event.client)
    if slot is None or slot.status not in ON_THE_WAY:
        return state
    before = state.benches.get(event.client)
    bench = after_failure(before, next_plan(state), event.reason)
    return replace(state, benches={**state.benches, event.client: bench})


def _receive(state: RunState, event: UpdateReceived) -> Step:
    verdict, reason = judge(state, event)
    reply = Reply(event.client, event.round, verdict, reason)
    if verdict != "accepted":
        return state, (reply,)
    receipt, benches = Receipt(event.round, event.digest), state.benches
    if event.client in benches:
        benches = {name: each for name, each in benches.items() if name != event.client}
    receipts = {**state.receipts, event.client: receipt}
    moved = _moved(state, event.client, MAY_DELIVER, "accepted", "")
    return changed(state, receipts=receipts, benches=benches, **moved), (reply,)


def _take_answer(state: RunState, event: AnswerReceived) -> Step:
    verdict, reason = judge_answer(state, event)
    reply = Reply(event.client, event.round, verdict, reason, event.exchange)
    if verdict != "accepted":
        return state, (reply,)
    others = state.answers.get(event.exchange, {})
    answers = {**state.answers, event.exchange: {**others, event.client: event.digest}}
    moved = _moved(state, event.client, MAY_DELIVER, "accepted", "")
    return changed(state, answers=answers, **moved), (reply,)


def _refuse(state: RunState, event: UpdateRejected) -> Step:
    verdict: Verdict = "rejected" if event.client in state.clients else "unknown"
    reply = Reply(event.client, event.round, verdict, event.reason, event.exchange)
    if not _is_of_its_slot(state, event):
        return state, (reply,)
    refused = _benched(state, event)
    return _with_slot(refused, event.client, MAY_DELIVER, "rejected", event.reason), (reply,)


def _is_of_its_slot(state: RunState, event: UpdateRejected | ClientFailed) -> bool:
    slot = slot_of(state, event.client)
    return slot is not None and slot.base == event.round and event.exchange == state.exchange


def _with_slot(
    state: RunState, client: str, before: tuple[Status, ...], after: Status, reason: str
) -> RunState:
    """Move a client's slot of the open round, else of the next one, if its status is one of `before`."""
    moved = _moved(state, client, before, after, reason)
    return changed(state, **moved) if moved else state


def _moved(
    state: RunState, client: str, before: tuple[Status, ...], after: Status, reason: str
) -> dict[str, Any]:
    """Return the fields of the state that are others once a slot has moved.

    Before its round is open, a slot from which nothing will come is given up: its client is idle.
    """
    slot = slot_of(state, client)
    if slot is None or slot.status not in before:
        return {}
    moved = {**slots(state), client: Slot(after, slot.base, reason)}
    if state.phase == "collecting":
        counts = {**state.counts}
        counts[slot.status] -= 1
        counts[after] += 1
        return {"cohort": moved, "counts": counts}
    if after in ("failed", "rejected"):
        del moved[client]
    return {"carried": moved}
