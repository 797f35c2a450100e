"""How a run goes on: exchanges close, rounds end, and what it waits for is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from antiphon.core.events import TRAINING
from antiphon.server.machine import measuring
from antiphon.server.machine.actions import Action, Combine, Conclude, Finish, Fold, PlanRound, Step
from antiphon.server.machine.bench import on_trial, pause_s
from antiphon.server.machine.carrying import call_off, still_valid, why_called_off
from antiphon.server.machine.hearing import assign
from antiphon.server.machine.opening import next_exchange, opened
from antiphon.server.machine.run_state import (
    ON_THE_WAY,
    UNFOLDED,
    Ending,
    Outcome,
    Phase,
    RunState,
    busy,
    counted,
    eligible,
    enough_present,
    having,
    is_measuring,
    updated,
)


def asked(state: RunState) -> tuple[Action, ...]:
    """Return what a state waits for the engine to do, beside delivering."""
    match state.phase:
        case "planning":
            here = eligible(state)
            return (PlanRound(state.round, here, busy(state), on_trial(state.benches, here)),)
        case "folding":
            return (Fold(state.round, updated(state)),)
        case "combining":
            return (Combine(state.round, state.exchange, having(state, "accepted")),)
        case "evaluating":
            return measuring.awaited(state)
        case "complete" | "stopped":
            return (Finish(state.phase == "complete", state.reason),)
    return ()


def settle(state: RunState, now: float) -> Step:
    """Move on if what the state waited for is there."""
    if state.phase == "collecting":
        if _is_settled(state):
            return _close(state, "the quorum is out of reach", now)
        return state, ()
    if state.phase != "waiting" or now < state.not_before or not enough_present(state):
        return state, ()
    if state.round == 0:
        return measuring.begin(state, now)
    return enter(replace(state, phase="planning"))


def _is_settled(state: RunState) -> bool:
    """Whether the open round has nothing more to wait for."""
    working, away = state.counts["assigned"], state.counts["left"]
    accepted, quorum = state.counts["accepted"], state.quorum
    if accepted >= state.enough > 0:
        return True
    out_of_reach = accepted + working + away < quorum
    return out_of_reach or (working == 0 and (accepted >= quorum or away == 0))


def close_if_due(state: RunState, now: float) -> Step:
    """Close the exchange that is open, if its deadline has passed."""
    if state.phase == "collecting" and now >= state.deadline:
        return _close(state, "the deadline has passed", now)
    if state.phase == "evaluating" and is_measuring(state) and now >= state.deadline:
        closed, cancelled = measuring.close(state, "the deadline passed before its measurement")
        return closed, (*cancelled, Conclude(state.round))
    return state, ()


def _close(state: RunState, cause: str, now: float) -> Step:
    accepted = state.counts["accepted"]
    folds = accepted >= state.quorum
    if folds and (state.exchange != TRAINING or next_exchange(state)):
        return _close_one_of_many(state, cause, now)
    # A buffer that is not folded keeps its updates: the next round goes on filling it.
    statuses = ON_THE_WAY if folds else UNFOLDED
    valid = still_valid(state, state.round + 1, state.max_staleness, statuses)
    carried, cancelled = call_off(state, valid, why_called_off(state, cause))
    closed = replace(carried, phase="folding")
    if folds:
        after, following = enter(replace(closed, failed_in_a_row=0))
    else:
        training = state.exchange == TRAINING
        what = "updates" if training else f"answers to the exchange {state.exchange}"
        why = f"{cause}: {accepted} of {len(state.cohort)} {what}, quorum {state.quorum}"
        after, following = end(closed, "failed", why, now)
    return after, (*cancelled, *following)


def _close_one_of_many(state: RunState, cause: str, now: float) -> Step:
    """Close an exchange of a round that has several, with answers enough."""
    closed, cancelled = call_off(state, (), why_called_off(state, cause))
    if state.exchange != TRAINING:
        after, following = enter(replace(closed, phase="combining"))
    else:
        digests = {each: state.receipts[each].digest for each in having(state, "accepted")}
        answers = {**state.answers, TRAINING: digests}
        after, following = go_on(replace(closed, answers=answers), now)
    return after, (*cancelled, *following)


def go_on(state: RunState, now: float) -> Step:
    """Open the round's next exchange for those who have answered this one, or fold the round."""
    name = next_exchange(state)
    if name is not None:
        after = opened(state, name, now)
        given = tuple(assign(after, each) for each in having(after, "assigned"))
        settled, following = settle(after, now)
        return settled, (*given, *following)
    updates, quorum = len(updated(state)), state.exchanges[TRAINING].fewest
    if updates < quorum:
        why = f"clients were revoked: {updates} updates are left, quorum {quorum}"
        return end(state, "failed", why, now)
    return enter(replace(state, phase="folding", failed_in_a_row=0))


def end(state: RunState, ending: Ending, reason: str, now: float) -> Step:
    """End the round in work, and go on to the next one, or to the end of the run."""
    state, unmeasured = measuring.close(state)
    if state.round == 0:
        after, following = await_clients(state, 1, now)
        return after, (*unmeasured, *following)
    failed = state.failed_in_a_row + 1 if ending == "failed" else 0
    not_before = state.opened + pause_s(failed) if failed else 0.0
    ended = replace(
        with_outcome(state, ending, reason), failed_in_a_row=failed, not_before=not_before
    )
    stops = failed >= state.run.max_failed_rounds
    # Whoever began before an undo may have begun on what was undone.
    kept = () if stops or ending == "undone" else tuple(state.carried)
    ended, cancelled = call_off(ended, kept)
    if stops:
        why = f"{failed} rounds in a row have failed; round {state.round}: {reason}"
        after, following = enter(replace(ended, phase="stopped", reason=why))
    elif len(ended.outcomes) >= state.run.rounds:
        after, following = finish(ended)
    else:
        after, following = await_clients(ended, state.round + 1, now)
    return after, (*unmeasured, *cancelled, *following)


def finish(state: RunState) -> Step:
    """End the run: every round is over."""
    endings = Counter(each.ending for each in state.outcomes)
    told = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
    phase: Phase = "complete" if endings["folded"] else "stopped"
    return enter(replace(state, phase=phase, reason=f"all rounds are over: {told}"))


def await_clients(state: RunState, number: int, now: float) -> Step:
    """Wait for clients, and for the end of a pause, before a round."""
    waiting = replace(
        state,
        phase="waiting",
        round=number,
        cohort={},
        counts=counted({}),
        measuring={},
        measurers=0,
        exchange=TRAINING,
        answers={},
    )
    return settle(waiting, now)


def enter(state: RunState) -> Step:
    """Return a state with what it asks for."""
    return state, asked(state)


def with_outcome(state: RunState, ending: Ending, reason: str) -> RunState:
    """Return the state in which the round in work has ended."""
    accepted, rejected = updated(state), having(state, "rejected")
    outcomes = (*state.outcomes, Outcome(state.round, ending, reason, accepted, rejected))
    if ending != "folded":
        return replace(state, outcomes=outcomes)
    folded = {each: state.cohort[each].base for each in accepted}
    return replace(state, outcomes=outcomes, folded={**state.folded, **folded})
