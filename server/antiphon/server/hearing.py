"""What a client's word changes: it joins or leaves, delivers, fails. Nothing here ever raises."""

from __future__ import annotations

import math
from dataclasses import replace

from antiphon.core.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.server.actions import Action, Assign, Reply
from antiphon.server.run_state import (
    MAY_DELIVER,
    Member,
    Receipt,
    RunState,
    Status,
    slot_of,
    slots,
)
from antiphon.server.verdict import Verdict, judge

FromClients = ClientJoined | ClientLeft | UpdateReceived | UpdateRejected | ClientFailed
"""Events that a client can cause: none of them ever raises, whatever they say and whenever."""

Step = tuple[RunState, tuple[Action, ...]]


def hear(state: RunState, event: FromClients) -> Step:
    """Return the state after what a client has caused, and what the engine must do about it."""
    match event:
        case ClientJoined():
            return _join(state, event)
        case ClientLeft():
            return _leave(state, event), ()
        case UpdateReceived():
            return _receive(state, event)
        case UpdateRejected():
            return _refuse(state, event)
        case ClientFailed() if _is_of_its_slot(state, event):
            return _with_slot(state, event.client, ("assigned", "left"), "failed", event.reason), ()
    return state, ()


def assign(state: RunState, client: str) -> Assign:
    """Return the assignment of a client that has a slot."""
    deadline = state.deadline if state.max_staleness is None else math.inf
    return Assign(client, slots(state)[client].base, deadline)


def _join(state: RunState, event: ClientJoined) -> Step:
    before = state.clients.get(event.client)
    clients = {**state.clients, event.client: Member(event.examples, present=True)}
    joined = replace(state, clients=clients)
    if before is not None and before.present:
        return joined, ()
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


def _receive(state: RunState, event: UpdateReceived) -> Step:
    verdict, reason = judge(state, event)
    reply = Reply(event.client, event.round, verdict, reason)
    if verdict != "accepted":
        return state, (reply,)
    receipt = Receipt(event.round, event.digest)
    received = replace(state, receipts={**state.receipts, event.client: receipt})
    return _with_slot(received, event.client, MAY_DELIVER, "accepted", ""), (reply,)


def _refuse(state: RunState, event: UpdateRejected) -> Step:
    verdict: Verdict = "rejected" if event.client in state.clients else "unknown"
    reply = Reply(event.client, event.round, verdict, event.reason)
    if not _is_of_its_slot(state, event):
        return state, (reply,)
    return _with_slot(state, event.client, MAY_DELIVER, "rejected", event.reason), (reply,)


def _is_of_its_slot(state: RunState, event: UpdateRejected | ClientFailed) -> bool:
    slot = slot_of(state, event.client)
    return slot is not None and slot.base == event.round


def _with_slot(
    state: RunState, client: str, before: tuple[Status, ...], after: Status, reason: str
) -> RunState:
    """Move a client's slot of the open round, else of the next one, if its status is one of `before`.

    Before its round is open, a slot from which nothing will come is given up: its client is idle.
    """
    slot = slot_of(state, client)
    if slot is None or slot.status not in before:
        return state
    moved = {**slots(state), client: replace(slot, status=after, reason=reason)}
    if state.phase == "collecting":
        return replace(state, cohort=moved)
    if after in ("failed", "rejected"):
        del moved[client]
    return replace(state, carried=moved)
