"""The round machine: what a run does next, as a pure function of what has happened.

    step(state, event, now) -> (state, actions)

It has no socket, no clock, no disk and no randomness; the simulator and the coordinator drive the
same one. An engine steps, appends the event to the journal at the same `now`, then carries the
actions out; crash recovery is `replay` of the journal followed by a RunResumed event. A step that
left the state as it was (a duplicate, a tick before the deadline) need not be journalled.

The phases, and the event that ends each of them:

    new         RunStarted
    waiting     ClientJoined, until min_clients are present
    planning    RoundPlanned
    collecting  the quorum is there and nobody else works; or it is out of reach; or the deadline
    folding     RoundFolded, or RoundUndone
    evaluating  RoundEvaluated (of the untouched model, as round 0, before round 1), or RoundUndone
    complete    (none: every round is over)
    stopped     RunResumed, if rounds are left

A round number is used once. A round that closes below its quorum has failed: the model stays as it
is and the *next number* is planned, so a late update can never be taken for one of a second
attempt, and a run of n rounds ends after n closings at most. max_failed_rounds in a row stop the
run; it can be resumed when the fleet is mended. A member that has left may come back: as long as the
quorum needs it, the round waits for it until the deadline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from antiphon.core.errors import ProtocolError
from antiphon.core.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    Event,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunResumed,
    RunStarted,
    RunStopped,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.server.actions import (
    Action,
    Assign,
    CancelAssignment,
    Evaluate,
    Finish,
    Fold,
    PlanRound,
    Reply,
)
from antiphon.server.run_state import (
    MAY_DELIVER,
    Ending,
    Member,
    Outcome,
    Phase,
    Receipt,
    RunState,
    Slot,
    Status,
    having,
    present,
)
from antiphon.server.verdict import Verdict, judge

FromClients = ClientJoined | ClientLeft | UpdateReceived | UpdateRejected | ClientFailed
"""Events that a client can cause: none of them ever raises, whatever they say and whenever."""

Step = tuple[RunState, tuple[Action, ...]]


def step(state: RunState, event: Event, now: float) -> Step:
    """Return the state after an event at `now` (seconds), and what the engine must do about it.

    Raises ProtocolError for an event of the engine's own that is out of place; an event that a
    client causes never raises. Observations change nothing.
    """
    match event:
        case RunStarted():
            return _start(state, event)
        case RunResumed():
            return _resume(state, now)
        case RunStopped():
            return _stop(state, event.reason)
        case RoundPlanned():
            return _open(state, event, now)
        case RoundFolded():
            _expect(state, event.round, event, "folding")
            return _enter(replace(state, phase="evaluating"))
        case RoundUndone():
            _expect(state, event.round, event, "folding", "evaluating")
            return _end(state, "undone", event.reason)
        case RoundEvaluated():
            _expect(state, event.round, event, "evaluating")
            return _end(state, "folded", "")
        case Ticked():
            return _close_if_due(state, now)
        case ClientJoined() | ClientLeft() | UpdateReceived() | UpdateRejected() | ClientFailed():
            # The deadline binds whether or not the engine's timer was faster than the update.
            due, closing = _close_if_due(state, now)
            heard, answers = _hear(due, event)
            settled, following = _settle(heard)
            return settled, (*closing, *answers, *following)
    return state, ()


def replay(events: Iterable[tuple[Event, float]]) -> RunState:
    """Return the state after these (event, at_s), from the beginning. Raises ProtocolError."""
    state = RunState()
    for event, at_s in events:
        state, _ = step(state, event, at_s)
    return state


def pending_actions(state: RunState) -> tuple[Action, ...]:
    """Return what the state waits for an engine to do: all that one which crashed must do again."""
    match state.phase:
        case "planning":
            return (PlanRound(state.round, present(state)),)
        case "collecting":
            waited_for = having(state, "assigned")
            return tuple(Assign(each, state.round, state.deadline) for each in waited_for)
        case "folding":
            return (Fold(state.round, having(state, "accepted")),)
        case "evaluating":
            return (Evaluate(state.round),)
        case "complete" | "stopped":
            return (Finish(state.phase == "complete", state.reason),)
    return ()


def next_deadline(state: RunState) -> float | None:
    """Return when a Ticked event is due (absolute seconds), or None if no time limit runs."""
    return state.deadline if state.phase == "collecting" else None


def _start(state: RunState, event: RunStarted) -> Step:
    if state.phase != "new":
        raise ProtocolError(f"got {event}, but the run has started already: journal it once")
    if min(event.rounds, event.min_clients, event.max_failed_rounds) < 1:
        raise ProtocolError(f"rounds, min_clients and max_failed_rounds must be >= 1: got {event}")
    return _settle(replace(state, phase="waiting", run=event))


def _resume(state: RunState, now: float) -> Step:
    if state.phase == "new":
        raise ProtocolError("got RunResumed, but there is no run yet: begin with RunStarted")
    if state.phase == "stopped" and len(state.outcomes) < state.run.rounds:
        reopened = replace(state, failed_in_a_row=0, reason="")
        return _await(reopened, len(state.outcomes) + 1 if state.round else 0)
    if state.phase == "collecting":
        # The time without a coordinator is not held against the clients: the deadline begins anew.
        return _enter(replace(state, deadline=now + state.deadline_s))
    return _enter(state)


def _stop(state: RunState, reason: str) -> Step:
    if state.phase == "new":
        raise ProtocolError("got RunStopped, but there is no run yet: begin with RunStarted")
    if state.phase in ("complete", "stopped"):
        return state, ()
    outcomes = state.outcomes
    if state.phase in ("collecting", "folding"):
        outcomes = (*outcomes, _outcome(state, "stopped", reason))
    elif state.phase == "evaluating" and state.round > 0:
        outcomes = (*outcomes, _outcome(state, "folded", ""))
    stopped, finish = _enter(replace(state, phase="stopped", outcomes=outcomes, reason=reason))
    return stopped, (*_cancellations(state), *finish)


def _open(state: RunState, event: RoundPlanned, now: float) -> Step:
    _expect(state, event.round, event, "planning")
    strangers = sorted(set(event.cohort) - set(state.clients))
    if strangers or len(set(event.cohort)) != len(event.cohort):
        raise ProtocolError(f"a cohort is of clients that joined, each once: got {event.cohort}")
    if event.quorum < 1 or not event.deadline_s > 0:
        raise ProtocolError(f"a round needs quorum >= 1 and deadline_s > 0: got {event}")
    opened = replace(
        state,
        phase="collecting",
        cohort={each: _first_slot(state.clients[each]) for each in event.cohort},
        quorum=event.quorum,
        deadline=now + event.deadline_s,
        deadline_s=event.deadline_s,
    )
    settled, following = _settle(opened)
    return settled, (*pending_actions(opened), *following)


def _first_slot(member: Member) -> Slot:
    return Slot("assigned") if member.present else Slot("left", "left before the round was planned")


def _hear(state: RunState, event: FromClients) -> Step:
    match event:
        case ClientJoined():
            return _join(state, event)
        case ClientLeft():
            return _leave(state, event), ()
        case UpdateReceived():
            return _receive(state, event)
        case UpdateRejected():
            return _refuse(state, event)
        case ClientFailed() if event.round == state.round:
            return _with_slot(state, event.client, ("assigned", "left"), "failed", event.reason), ()
    return state, ()


def _join(state: RunState, event: ClientJoined) -> Step:
    before = state.clients.get(event.client)
    clients = {**state.clients, event.client: Member(event.examples, present=True)}
    joined = replace(state, clients=clients)
    if before is not None and before.present:
        return joined, ()
    again = _with_slot(joined, event.client, ("left", "failed"), "assigned", "")
    if again == joined:
        return joined, ()
    return again, (Assign(event.client, again.round, again.deadline),)


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
    if event.round != state.round:
        return state, (reply,)
    return _with_slot(state, event.client, MAY_DELIVER, "rejected", event.reason), (reply,)


def _with_slot(
    state: RunState, client: str, before: tuple[Status, ...], after: Status, reason: str
) -> RunState:
    """Move a client's slot of the open round, if there is one and it is in a status of `before`."""
    slot = state.cohort.get(client)
    if state.phase != "collecting" or slot is None or slot.status not in before:
        return state
    return replace(state, cohort={**state.cohort, client: Slot(after, reason)})


def _settle(state: RunState) -> Step:
    """Move on if what the state waited for is there."""
    if state.phase == "waiting" and len(present(state)) >= state.run.min_clients:
        return _enter(replace(state, phase="planning" if state.round else "evaluating"))
    if state.phase != "collecting":
        return state, ()
    count = Counter(slot.status for slot in state.cohort.values())
    if is_settled(count, state.quorum):
        return _close(state, "the quorum is out of reach")
    return state, ()


def is_settled(count: Mapping[Status, int], quorum: int) -> bool:
    """Whether a round with so many members in each status has nothing more to wait for."""
    accepted, working, away = count["accepted"], count["assigned"], count["left"]
    out_of_reach = accepted + working + away < quorum
    return out_of_reach or (working == 0 and (accepted >= quorum or away == 0))


def _close_if_due(state: RunState, now: float) -> Step:
    if state.phase == "collecting" and now >= state.deadline:
        return _close(state, "the deadline has passed")
    return state, ()


def _close(state: RunState, cause: str) -> Step:
    cancelled, accepted = _cancellations(state), len(having(state, "accepted"))
    if accepted >= state.quorum:
        closed, following = _enter(replace(state, phase="folding", failed_in_a_row=0))
    else:
        why = f"{cause}: {accepted} of {len(state.cohort)} updates, quorum {state.quorum}"
        closed, following = _end(state, "failed", why)
    return closed, (*cancelled, *following)


def _end(state: RunState, ending: Ending, reason: str) -> Step:
    if state.round == 0:
        return _await(state, 1)
    outcomes = (*state.outcomes, _outcome(state, ending, reason))
    failed = state.failed_in_a_row + 1 if ending == "failed" else 0
    ended = replace(state, outcomes=outcomes, failed_in_a_row=failed)
    if failed >= state.run.max_failed_rounds:
        why = f"{failed} rounds in a row have failed; round {state.round}: {reason}"
        return _enter(replace(ended, phase="stopped", reason=why))
    if len(outcomes) >= state.run.rounds:
        return _finish(ended)
    return _await(ended, state.round + 1)


def _finish(state: RunState) -> Step:
    endings = Counter(each.ending for each in state.outcomes)
    told = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
    phase: Phase = "complete" if endings["folded"] else "stopped"
    return _enter(replace(state, phase=phase, reason=f"all rounds are over: {told}"))


def _await(state: RunState, number: int) -> Step:
    return _settle(replace(state, phase="waiting", round=number, cohort={}))


def _enter(state: RunState) -> Step:
    return state, pending_actions(state)


def _outcome(state: RunState, ending: Ending, reason: str) -> Outcome:
    accepted, rejected = having(state, "accepted"), having(state, "rejected")
    return Outcome(state.round, ending, reason, accepted, rejected)


def _cancellations(state: RunState) -> tuple[Action, ...]:
    waited_for = having(state, "assigned") if state.phase == "collecting" else ()
    return tuple(CancelAssignment(each, state.round) for each in waited_for)


def _expect(state: RunState, number: int, event: Event, *phases: Phase) -> None:
    if state.phase not in phases or number != state.round:
        raise ProtocolError(
            f"got {type(event).__name__} for round {number}, but round {state.round} is "
            f"{state.phase}: report only the answer to the last action"
        )
