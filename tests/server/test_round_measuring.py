"""Measuring in the round machine: who is asked, who is waited for, and when it is over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.server.phases import (
    FOLDING,
    JOINED,
    PLANNING,
    START,
    actions,
    after,
    plan,
    update,
)

from antiphon.core.events import (
    MEASURING,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    Evaluated,
    Event,
    RoundEvaluated,
    RoundFolded,
    RoundUndone,
    RunResumed,
    RunRewound,
    RunStopped,
    Ticked,
)
from antiphon.server.machine.actions import (
    Assign,
    CancelAssignment,
    Conclude,
    PlanRound,
    Reply,
)
from antiphon.server.machine.bench import is_benched
from antiphon.server.machine.round import next_deadline, pending_actions, replay
from antiphon.server.machine.run_state import RunState
from antiphon.server.machine.waiting import why_waiting

ROW = {"deadline_s": 40.0}
MEASURED = replace(plan(), exchanges={"training": {}, MEASURING: ROW})
FOLDED = after(MEASURED, *map(update, "abc"), state=PLANNING)
EVERYONE = replace(MEASURED, exchanges={MEASURING: {**ROW, "everyone": True}})
ASKED = after(RoundFolded(1, "d"), state=FOLDED, now=10.0)


def ask(client: str, number: int = 1, deadline: float = 50.0) -> Assign:
    return Assign(client, number, deadline, MEASURING)


def called_off(client: str) -> CancelAssignment:
    return CancelAssignment(client, 1, exchange=MEASURING)


def by(client: str, number: int = 1) -> Evaluated:
    return Evaluated(number, client, 20, loss=2.0)


def failed(client: str, number: int = 1) -> ClientFailed:
    return ClientFailed(client, number, "no memory", MEASURING)


def taken(client: str) -> Reply:
    return Reply(client, 1, "accepted", exchange=MEASURING)


def test_whoever_is_here_is_asked_after_the_fold() -> None:
    """Each client that is there gets the model, and the deadline runs from the fold."""
    assert actions(FOLDED, RoundFolded(1, "d"), now=10.0) == (ask("a"), ask("b"), ask("c"))


def test_who_is_away_is_not_asked() -> None:
    """A client that has left cannot measure."""
    state = after(ClientLeft("b"), state=FOLDED)

    assert actions(state, RoundFolded(1, "d"), now=10.0) == (ask("a"), ask("c"))


def test_who_is_at_work_is_not_asked() -> None:
    """A member of an asynchronous round that still trains goes on with that."""
    buffer = replace(MEASURED, enough=2, max_staleness=2)
    state = after(buffer, update("a"), update("b"), state=PLANNING)

    assert actions(state, RoundFolded(1, "d"), now=10.0) == (ask("a"), ask("b"))


def test_everyone_is_asked_where_measuring_takes_no_time() -> None:
    """A simulation measures with those too who are off line or at work, but not with the revoked."""
    buffer = replace(EVERYONE, enough=1, quorum=1, max_staleness=2)
    state = after(buffer, update("a"), ClientLeft("b"), state=PLANNING)
    state = after(ClientJoined("d", 1), ClientRevoked("d"), state=state)

    assert actions(state, RoundFolded(1, "d"), now=10.0) == (ask("a"), ask("b"), ask("c"))


def test_the_untouched_model_is_measured_as_the_run_began() -> None:
    """Round 0 has no plan: the run's start says how it is measured."""
    state = after(replace(START, measuring=ROW), ClientJoined("a", 1))

    assert actions(state, ClientJoined("b", 1), now=2.0) == (ask("a", 0, 42.0), ask("b", 0, 42.0))


def test_where_nothing_is_measured_the_round_is_concluded() -> None:
    """A plan without measuring, as of an older version, asks nobody."""
    assert actions(FOLDING, RoundFolded(1, "d")) == (Conclude(1),)


def test_where_nobody_is_here_the_round_is_concluded() -> None:
    """Nobody could answer: nobody is waited for."""
    state = after(*map(ClientLeft, "abc"), state=FOLDED)

    assert actions(state, RoundFolded(1, "d")) == (Conclude(1),)


def test_a_measurement_is_taken_once() -> None:
    """The first is accepted; a second of the same client changes nothing and has no answer."""
    assert actions(ASKED, by("a")) == (taken("a"),)
    state = after(by("a"), state=ASKED)
    assert after(by("a"), state=state) == state
    assert actions(state, by("a")) == ()


@pytest.mark.parametrize("event", [by("stranger"), by("a", 0), by("a", 2), failed("a", 0)])
def test_what_nobody_waits_for_is_passed_over(event: Event) -> None:
    """Strangers and other rounds change nothing."""
    assert after(event, state=ASKED, now=10.0) == ASKED
    assert actions(ASKED, event, now=10.0) == ()


@pytest.mark.parametrize("event", [by("b"), failed("b"), ClientLeft("b"), ClientRevoked("b")])
def test_it_is_over_when_nobody_is_waited_for(event: Event) -> None:
    """Who has measured, failed, left or was revoked is not waited for; the last one ends it."""
    state = after(by("a"), by("c"), state=ASKED)

    assert Conclude(1) in actions(state, event, now=20.0)
    assert pending_actions(after(event, state=state)) == (Conclude(1),)
    assert next_deadline(after(event, state=state)) is None


def test_it_is_over_at_its_deadline() -> None:
    """Who has not measured by then is called off; nothing happens before."""
    state = after(by("a"), state=ASKED)

    assert next_deadline(state) == 50.0
    assert actions(state, Ticked(), now=49.0) == ()
    assert actions(state, Ticked(), now=50.0) == (called_off("b"), called_off("c"), Conclude(1))


def test_the_deadline_binds_whatever_comes_first() -> None:
    """A measurement after the deadline is none, though the timer has not gone off."""
    assert actions(ASKED, by("a"), now=51.0)[-1] == Conclude(1)
    assert taken("a") not in actions(ASKED, by("a"), now=51.0)


def test_who_is_back_is_asked_again() -> None:
    """As long as others measure, a client that had left may still do so."""
    state = after(ClientLeft("b"), state=ASKED)

    assert actions(state, ClientJoined("b", 1), now=20.0) == (ask("b"),)
    assert actions(after(ClientJoined("b", 1), state=state), by("b"), now=20.0) == (taken("b"),)


def test_who_comes_later_is_not_asked() -> None:
    """A client that joins while others measure has been asked for nothing."""
    assert actions(ASKED, ClientJoined("d", 1), now=20.0) == ()


def test_who_cannot_measure_is_not_benched() -> None:
    """To fail at measuring costs no client its next round."""
    state = after(failed("a"), state=ASKED)

    assert not is_benched(state.benches, "a", 2)


@pytest.mark.parametrize(
    "event", [RoundEvaluated(1), RoundUndone(1, "x"), RunStopped("x"), RunRewound(0)]
)
def test_whoever_still_measures_is_called_off_at_the_end(event: Event) -> None:
    """Whatever ends the evaluation: nobody goes on measuring for nothing."""
    cancelled = actions(after(by("a"), state=ASKED), event, now=20.0)[:2]

    assert cancelled == (called_off("b"), called_off("c"))


def test_the_next_round_follows() -> None:
    """What was measured has been taken together: the next round is planned."""
    state = after(*map(by, "abc"), state=ASKED)

    assert actions(state, RoundEvaluated(1)) == (PlanRound(2, ("a", "b", "c")),)


def test_what_was_measured_survives_a_crash() -> None:
    """A resume asks only whom the journal does not know to have answered, with the whole time again."""
    state = after(by("a"), state=ASKED)

    assert actions(state, RunResumed(), now=100.0) == (
        ask("b", deadline=140.0),
        ask("c", deadline=140.0),
    )
    assert actions(state, RunResumed(clock_stood=True), now=20.0) == (ask("b"), ask("c"))


def test_a_resume_may_measure_otherwise() -> None:
    """The config's deadline has changed, or it wants no measurement any more, or one after all."""
    later = RunResumed(measuring={"deadline_s": 5.0})
    never = RunResumed(measuring={"deadline_s": 0.0})
    unasked = after(RoundFolded(1, "d"), state=FOLDING)

    assert actions(ASKED, later, now=100.0)[0] == ask("a", deadline=105.0)
    assert actions(ASKED, never, now=100.0) == (Conclude(1),)
    assert actions(unasked, later, now=100.0)[0] == ask("a", deadline=105.0)


def test_a_resume_before_the_fold_may_measure_otherwise() -> None:
    """What is said while updates are collected or folded counts when the fold is there."""
    state = after(RunResumed(measuring=ROW), state=FOLDING)

    assert actions(state, RoundFolded(1, "d"), now=10.0)[0] == ask("a")


def test_an_old_journal_is_replayed() -> None:
    """Written before measuring was an exchange: nobody was asked, and what was measured is passed over."""
    events = [START, *JOINED, by("a", 0), RoundEvaluated(0, {"loss": 2.0}), plan()]
    events += [*map(update, "abc"), RoundFolded(1, "d"), *map(by, "abc"), RoundEvaluated(1)]

    state = replay((event, 0.0) for event in events)

    assert (state.phase, state.round) == ("planning", 2)


def test_what_it_waits_for_in_words() -> None:
    """The sentence names who is waited for, and how long."""
    state: RunState = after(by("a"), state=ASKED)

    assert why_waiting(state, now=20.0) == (
        "round 1: waiting for 2 measurements of the model (b, c), deadline in 30 s"
    )
