"""The round machine: what a run does next, as a pure function of what has happened.

    step(state, event, now) -> (state, actions)

It has no socket, no clock, no disk and no randomness; the simulator and the coordinator drive the
same one. An engine steps, appends the event to the journal at the same `now`, then carries the
actions out; crash recovery is `replay` of the journal followed by a RunResumed event. A step that
left the state as it was (a duplicate, a tick before the deadline) need not be journalled.

The phases, and the event that ends each of them:

    new         RunStarted
    waiting     ClientJoined, until min_clients are present; after a failed round also the end of a pause
    planning    RoundPlanned
    collecting  enough updates are there; or the quorum, and nobody else works; or the quorum is out of
                reach; or the deadline
    combining   ExchangeCombined: of a round with several exchanges, where each is collected and combined
    folding     RoundFolded, or RoundUndone
    evaluating  RoundEvaluated (of the untouched model, as round 0, before round 1), or RoundUndone; first
                whoever is asked to measure (measuring.py) has answered, failed or left, or the deadline
    complete    (none: every round is over, or the policy has ended the run)
    stopped     RunResumed, if rounds are left

RunRewound leads from every phase but `new` to `waiting`, with the model of an earlier round: the rounds
after it do not count, and their numbers stay used up.

A round number is used once. A round that closes below its quorum has failed: the model stays as it
is and the *next number* is planned, so a late update can never be taken for one of a second
attempt, and a run of n rounds ends after n closings at most. max_failed_rounds in a row stop the
run; it can be resumed when the fleet is mended. A member that has left may come back: as long as the
quorum needs it, the round waits for it until the deadline.

A round is a list of exchanges, which its plan names: in each the cohort is asked for something, and the
next one opens for those who have answered. Training is one, and mostly the only one; measuring comes after
the fold. Too few answers to any of them fail the round.

A client that fails, or whose update is refused, sits out some rounds (bench.py); where too few
are left for `fewest`, those nearest to their bench's end are planned with all the same. After a failed
round nothing is planned for a while, counted from its plan and longer with each one in a row, unless a
client joins anew.

A round whose plan has a max_staleness is asynchronous: a buffer that closes when it has enough updates
and calls nobody off. Who is still at work then keeps the model and the assignment of the round in which
it began, is in the cohort of the next round from its beginning, and may deliver between the two; only a
client whose update would be too stale there, or that nothing would follow, is called off. A buffer that
closes below its quorum keeps what it has: those updates are the next round's from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

from antiphon.core.errors import ProtocolError
from antiphon.core.events import (
    MEASURING,
    AnswerReceived,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    Evaluated,
    Event,
    ExchangeCombined,
    Observation,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunResumed,
    RunRewound,
    RunStarted,
    RunStopped,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.server.machine import measuring
from antiphon.server.machine.actions import (
    Action,
    Step,
)
from antiphon.server.machine.carrying import call_off, still_valid
from antiphon.server.machine.hearing import assign, hear
from antiphon.server.machine.opening import (
    check_plan,
    collected,
    collecting,
    exchanges_of,
    first_slot,
)
from antiphon.server.machine.progress import (
    asked,
    await_clients,
    close_if_due,
    end,
    finish,
    go_on,
    settle,
    with_outcome,
)
from antiphon.server.machine.run_state import (
    UNFOLDED,
    Phase,
    RunState,
    enough_present,
    is_measuring,
    slots,
)
from antiphon.server.machine.terms import read_terms

OBSERVATIONS = frozenset(get_args(Observation))
"""The events that the machine passes over."""


def step(state: RunState, event: Event, now: float) -> Step:
    """Return the state after an event at `now` (seconds), and what the engine must do about it.

    Raises ProtocolError for an event of the engine's own that is out of place; an event that a
    client causes never raises. Observations change nothing.
    """
    if type(event) in OBSERVATIONS:  # most of a journal
        return state, ()
    match event:
        case (
            UpdateReceived()
            | UpdateRejected()
            | AnswerReceived()
            | ClientFailed()
            | ClientJoined()
            | ClientLeft()
            | ClientRevoked()
            | Evaluated()
        ):
            # The deadline binds whether or not the engine's timer was faster than the update.
            due, closing = close_if_due(state, now)
            heard, answers = hear(due, event)
            settled, following = settle(heard, now)
            return settled, (*closing, *answers, *following)
        case RunStarted():
            return _start(state, event, now)
        case RunResumed():
            return _resume(state, event, now)
        case RunStopped():
            return _stop(state, event)
        case RunRewound():
            return _rewind(state, event, now)
        case RoundPlanned():
            return _open(state, event, now)
        case ExchangeCombined():
            return _combined(state, event, now)
        case RoundFolded():
            _expect(state, event.round, event, "folding")
            return measuring.begin(state, now)
        case RoundUndone():
            _expect(state, event.round, event, "folding", "evaluating")
            return end(state, "undone", event.reason, now)
        case RoundEvaluated():
            _expect(state, event.round, event, "evaluating")
            return end(state, "folded", "", now)
        case Ticked():
            return settle(state, now) if state.phase == "waiting" else close_if_due(state, now)
    return state, ()


def replay(events: Iterable[tuple[Event, float]]) -> RunState:
    """Return the state after these (event, at_s), from the beginning. Raises ProtocolError."""
    state = RunState()
    for event, at_s in events:
        state, _ = step(state, event, at_s)
    return state


def pending_actions(state: RunState) -> tuple[Action, ...]:
    """Return what the state waits for an engine to do: all that one which crashed must do again."""
    at_work = sorted(name for name, slot in slots(state).items() if slot.status == "assigned")
    return (*asked(state), *(assign(state, each) for each in at_work))


def next_deadline(state: RunState) -> float | None:
    """Return when a Ticked event is due (absolute seconds), or None if no time limit runs.

    It is the deadline of the exchange that is open, or the end of the pause after a failed round.
    """
    if state.phase == "waiting" and enough_present(state):
        return state.not_before
    return state.deadline if _is_open(state) else None


def _is_open(state: RunState) -> bool:
    """Whether an exchange is open, so that a deadline runs."""
    return state.phase == "collecting" or (state.phase == "evaluating" and is_measuring(state))


def _start(state: RunState, event: RunStarted, now: float) -> Step:
    if state.phase != "new":
        raise ProtocolError(f"got {event}, but the run has started already: journal it once")
    if min(event.rounds, event.min_clients, event.max_failed_rounds) < 1:
        raise ProtocolError(f"rounds, min_clients and max_failed_rounds must be >= 1: got {event}")
    return settle(replace(state, phase="waiting", run=event), now)


def _resume(state: RunState, event: RunResumed, now: float) -> Step:
    if state.phase == "new":
        raise ProtocolError("got RunResumed, but there is no run yet: begin with RunStarted")
    if event.rounds is not None:
        run = replace(state.run, rounds=event.rounds, config_hash=event.config_hash)
        state = replace(state, run=run)
        between = state.phase in ("waiting", "planning")
        if between and state.round > 0 and len(state.outcomes) >= event.rounds:
            return finish(state)
    if state.phase == "stopped" and len(state.outcomes) < state.run.rounds:
        reopened = replace(state, failed_in_a_row=0, reason="", not_before=0.0)
        return await_clients(reopened, len(state.outcomes) + 1 if state.round else 0, now)
    if state.phase == "waiting" and not event.clock_stood:
        # Whoever starts a coordinator again need not wait, whatever its clock says.
        state, _ = settle(replace(state, not_before=0.0), now)
    state = _measured_otherwise(state, event, now)
    if _is_open(state) and not event.clock_stood:
        # The time without a coordinator is not held against the clients: the deadline begins anew.
        state = replace(state, deadline=now + state.deadline_s)
    return state, pending_actions(state)


def _measured_otherwise(state: RunState, event: RunResumed, now: float) -> RunState:
    """Return the state in which the open round is measured as the event says, if it says anything."""
    if not event.measuring:
        return state
    terms = read_terms(event.measuring)
    if state.round == 0:
        state = replace(state, run=replace(state.run, measuring=event.measuring))
    else:
        others = {name: each for name, each in state.exchanges.items() if name != MEASURING}
        state = replace(state, exchanges=others | ({MEASURING: terms} if terms else {}))
    if state.phase != "evaluating":
        return state
    if not state.measuring:
        return measuring.begin(state, now)[0]
    return replace(state, deadline_s=terms.deadline_s) if terms else measuring.close(state)[0]


def _stop(state: RunState, event: RunStopped) -> Step:
    if state.phase == "new":
        raise ProtocolError("got RunStopped, but there is no run yet: begin with RunStarted")
    if state.phase in ("complete", "stopped"):
        return state, ()
    state, unmeasured = measuring.close(state)
    ended, cancelled = call_off(state, ())
    if state.phase in ("collecting", "combining", "folding"):
        ended = with_outcome(ended, "stopped", event.reason)
    elif state.phase == "evaluating" and state.round > 0:
        ended = with_outcome(ended, "folded", "")
    done = event.by_policy and any(each.ending == "folded" for each in ended.outcomes)
    stopped = replace(ended, phase="complete" if done else "stopped", reason=event.reason)
    return stopped, (*unmeasured, *cancelled, *asked(stopped))


def _rewind(state: RunState, event: RunRewound, now: float) -> Step:
    left = [each.round for each in state.outcomes if each.ending in ("folded", "undone")]
    evaluating = state.phase == "evaluating" and state.round > 0
    newest = state.round if evaluating else max(left, default=0)
    if state.phase == "new" or event.round not in (0, *left) or event.round >= newest:
        raise ProtocolError(
            f"got {event}, but the models before the newest, {newest}, are of {left}"
        )
    state, unmeasured = measuring.close(state)
    back, cancelled = call_off(state, ())
    if state.phase in ("collecting", "combining", "folding") or evaluating:
        back = with_outcome(back, "rewound", "")
    why = f"the run went back to round {event.round}"
    back = replace(
        back,
        outcomes=tuple(
            replace(each, ending="rewound", reason=why)
            if each.round > event.round and each.ending in ("folded", "undone", "rewound")
            else each
            for each in back.outcomes
        ),
        folded={client: base for client, base in back.folded.items() if base <= event.round},
        failed_in_a_row=0,
        not_before=0.0,
        reason="",
    )
    over = len(back.outcomes) >= back.run.rounds
    after, following = finish(back) if over else await_clients(back, len(back.outcomes) + 1, now)
    return after, (*unmeasured, *cancelled, *following)


def _open(state: RunState, event: RoundPlanned, now: float) -> Step:
    _expect(state, event.round, event, "planning")
    check_plan(state, event)
    valid = still_valid(state, event.round, event.max_staleness, UNFOLDED)
    begun, too_stale = call_off(state, valid)
    new = {each: first_slot(state.clients[each], event.round) for each in sorted(event.cohort)}
    cohort = {**begun.carried, **new}
    exchanges = exchanges_of(event)
    planned = replace(
        begun,
        cohort=cohort,
        carried={},
        exchanges=exchanges,
        answers={},
        max_staleness=event.max_staleness,
        opened=now,
    )
    first = collecting(planned, collected(exchanges)[0], now)
    given = (assign(first, each) for each in new if new[each].status == "assigned")
    settled, following = settle(first, now)
    return settled, (*too_stale, *given, *following)


def _combined(state: RunState, event: ExchangeCombined, now: float) -> Step:
    _expect(state, event.round, event, "combining")
    if event.exchange != state.exchange:
        raise ProtocolError(f"got {event}, but the exchange that is combined is {state.exchange}")
    return go_on(state, now)


def _expect(state: RunState, number: int, event: Event, *phases: Phase) -> None:
    if state.phase not in phases or number != state.round:
        raise ProtocolError(
            f"got {type(event).__name__} for round {number}, but round {state.round} is "
            f"{state.phase}: report only the answer to the last action"
        )
