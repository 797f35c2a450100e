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
    collecting  all of the cohort is settled, or the quorum is out of reach, or the deadline
    folding     RoundFolded, or RoundUndone
    evaluating  RoundEvaluated (of the untouched model, as round 0, before round 1), or RoundUndone
    complete    (none: every round is over)
    stopped     RunResumed, if rounds are left

A round number is used once. A round that closes below its quorum has failed: the model stays as it
is and the *next number* is planned, so a late update can never be taken for one of a second
attempt, and a run of n rounds ends after n closings at most. max_failed_rounds in a row stop the
run; it can be resumed when the fleet is mended.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from antiphon.core.errors import AntiphonError
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

Phase = Literal[
    "new", "waiting", "planning", "collecting", "folding", "evaluating", "complete", "stopped"
]
Status = Literal["assigned", "accepted", "failed", "rejected", "left"]
Verdict = Literal["accepted", "duplicate", "late", "rejected", "unknown"]
Ending = Literal["folded", "undone", "failed", "stopped"]

FromClients = ClientJoined | ClientLeft | UpdateReceived | UpdateRejected | ClientFailed
"""Events that a client can cause: none of them ever raises, whatever they say and whenever."""

_OPEN: tuple[Status, ...] = ("assigned", "failed", "left")  # an update may still come from these
_MOST_NAMES = 5
_NO_RUN = RunStarted("", "", rounds=1, min_clients=1, max_failed_rounds=1)  # of the phase `new`


class ProtocolError(AntiphonError):
    """The engine reported something that cannot have happened now: a defect of the engine."""


@dataclass(frozen=True)
class Member:
    """A client that the run has met. examples: training examples it holds."""

    examples: int
    present: bool


@dataclass(frozen=True)
class Slot:
    """One cohort member's part of the round; reason: why it failed, left or was rejected."""

    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Receipt:
    """The last update that was accepted from a client. digest: hex SHA-256 of its bytes."""

    round: int
    digest: str


@dataclass(frozen=True)
class Outcome:
    """How a round ended. accepted, rejected: clients, sorted; reason: empty for a folded round."""

    round: int
    ending: Ending
    reason: str
    accepted: tuple[str, ...]
    rejected: tuple[str, ...]


@dataclass(frozen=True)
class RunState:
    """Everything the machine remembers; two states are equal if they act alike from here on.

    round: the one in work, or to be planned next (0: the untouched model); quorum, deadline
    (absolute seconds) and deadline_s: of the round being collected; reason: why the run is complete
    or stopped. A receipt holds the digest by which an engine finds an accepted update's bytes.
    The mappings are never changed in place.
    """

    phase: Phase = "new"
    run: RunStarted = _NO_RUN
    clients: Mapping[str, Member] = field(default_factory=dict)
    round: int = 0
    cohort: Mapping[str, Slot] = field(default_factory=dict)
    quorum: int = 0
    deadline: float = 0.0
    deadline_s: float = 0.0
    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()
    failed_in_a_row: int = 0
    reason: str = ""


@dataclass(frozen=True)
class PlanRound:
    """Ask the policy for a plan over these clients (sorted); answer with RoundPlanned."""

    round: int
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Assign:
    """Give a client its part of the round. deadline: absolute seconds on the engine's clock."""

    client: str
    round: int
    deadline: float


@dataclass(frozen=True)
class Reply:
    """Answer the client's update: accepted and duplicate are good news, the rest says why not."""

    client: str
    round: int
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class CancelAssignment:
    """Tell a client that its round has closed: what it still computes is not wanted."""

    client: str
    round: int


@dataclass(frozen=True)
class Fold:
    """Fold the updates of these clients, in this order (sorted); answer with RoundFolded/Undone."""

    round: int
    clients: tuple[str, ...]


@dataclass(frozen=True)
class Evaluate:
    """Measure the model after this round (0: untouched) if the config says so; RoundEvaluated."""

    round: int


@dataclass(frozen=True)
class Finish:
    """Nothing is left to do: write the report. complete: all rounds are over, one was folded."""

    complete: bool
    reason: str


Action = PlanRound | Assign | Reply | CancelAssignment | Fold | Evaluate | Finish
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


def why_waiting(state: RunState, now: float) -> str:
    """Return one sentence on what the run waits for at `now` (seconds), for people."""
    where = f"round {state.round}" if state.round else "before the first round"
    match state.phase:
        case "new":
            return "the run has not started"
        case "waiting":
            here, needed = len(present(state)), state.run.min_clients
            return f"{where}: waiting for clients ({here} of the {needed} needed are here)"
        case "planning":
            return f"{where}: waiting for the plan over {_count(len(present(state)), 'client')}"
        case "collecting":
            return f"{where}: {_waiting_for_updates(state, now)}"
        case "folding":
            return f"{where}: folding {_count(len(having(state, 'accepted')), 'update')}"
        case "evaluating":
            what = "the model" if state.round else "the untouched model"
            return f"{where}: waiting for the evaluation of {what}"
        case "complete" | "stopped":
            return f"{state.phase}: {state.reason or 'no reason was given'}"


def present(state: RunState) -> tuple[str, ...]:
    """Return the clients that can be given work, sorted."""
    return tuple(sorted(name for name, member in state.clients.items() if member.present))


def having(state: RunState, status: Status) -> tuple[str, ...]:
    """Return the members of the current cohort in this status, sorted."""
    return tuple(sorted(name for name, slot in state.cohort.items() if slot.status == status))


def _waiting_for_updates(state: RunState, now: float) -> str:
    waited_for = having(state, "assigned")
    more = len(waited_for) - _MOST_NAMES
    names = ", ".join(waited_for[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    left = state.deadline - now
    until = f"deadline in {_duration(left)}" if left > 0 else "the deadline has passed"
    until = "no deadline" if math.isinf(left) else until
    return (
        f"waiting for {len(waited_for)} of {_count(len(state.cohort), 'update')} ({names}), "
        f"quorum {state.quorum}, {until}"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


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
    verdict, reason = _judge(state, event)
    reply = Reply(event.client, event.round, verdict, reason)
    if verdict != "accepted":
        return state, (reply,)
    receipt = Receipt(event.round, event.digest)
    received = replace(state, receipts={**state.receipts, event.client: receipt})
    return _with_slot(received, event.client, _OPEN, "accepted", ""), (reply,)


def _refuse(state: RunState, event: UpdateRejected) -> Step:
    verdict: Verdict = "rejected" if event.client in state.clients else "unknown"
    reply = Reply(event.client, event.round, verdict, event.reason)
    if event.round != state.round:
        return state, (reply,)
    return _with_slot(state, event.client, _OPEN, "rejected", event.reason), (reply,)


def _judge(state: RunState, event: UpdateReceived) -> tuple[Verdict, str]:
    if event.client not in state.clients:
        return "unknown", f"no client {event.client!r} has joined this run: join first"
    if state.receipts.get(event.client) == Receipt(event.round, event.digest):
        return "duplicate", ""
    newest = max(0, state.round - (state.phase in ("new", "waiting", "planning")))
    if not 1 <= event.round <= newest:
        return "rejected", f"round {event.round} has not been opened; the newest is {newest}"
    if event.round < newest or state.phase != "collecting":
        return "late", f"round {event.round} is closed"
    slot = state.cohort.get(event.client)
    if slot is None:
        return "rejected", f"{event.client!r} is not in the cohort of round {event.round}"
    if slot.status == "accepted":
        return "rejected", f"another update for round {event.round} has been accepted already"
    if slot.status == "rejected":
        return "rejected", f"an update for round {event.round} was refused: {slot.reason}"
    return "accepted", ""


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
    accepted, open_ = len(having(state, "accepted")), len(having(state, "assigned"))
    if accepted + open_ < state.quorum or open_ == 0:
        return _close(state, "the quorum is out of reach")
    return state, ()


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
