"""Rounds that close before everybody is done: over-selection, and asynchronous buffers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.server.phases import actions, after

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
from antiphon.server.machine.actions import Assign, CancelAssignment, Conclude, Fold, PlanRound
from antiphon.server.machine.actions import Reply as Answer
from antiphon.server.machine.round import pending_actions, replay, step
from antiphon.server.machine.run_state import RunState, having
from antiphon.server.machine.waiting import why_waiting

START = RunStarted("quickstart", "0123", rounds=9, min_clients=1, max_failed_rounds=2)
JOINED = [ClientJoined(each, 100) for each in "abcd"]


def update(client: str, base: int = 1) -> UpdateReceived:
    """Return an update that began in round `base`."""
    return UpdateReceived(client, base, f"{client}{base}", 1, 100, 6)


def plan(number: int = 1, cohort: str = "abcd", most: int | None = 2) -> RoundPlanned:
    """Return the plan of a round that closes with two updates; its deadline is 60 s away."""
    return RoundPlanned(number, tuple(cohort), 2, 60.0, enough=2, max_staleness=most)


def answer(state: RunState, event: Event) -> tuple[str, str]:
    """Return the verdict of the only reply to an event, and its reason."""
    (reply,) = (each for each in actions(state, event) if isinstance(each, Answer))
    return reply.verdict, reply.reason


def whole_round(number: int, *updates: UpdateReceived, cohort: str = "") -> list[Event]:
    """Return the events of a round, from its plan on."""
    end: list[Event] = [RoundFolded(number, "d"), RoundEvaluated(number)]
    return [plan(number, cohort), *updates, *end]


PLANNING = after(START, *JOINED, RoundEvaluated(0))
COLLECTING = after(plan(), state=PLANNING)
FOLDING = after(update("a"), update("b"), state=COLLECTING)
EVALUATING = after(RoundFolded(1, "d"), state=FOLDING)
BETWEEN = after(RoundEvaluated(1), state=EVALUATING)
SECOND = after(plan(2, "ab"), state=BETWEEN)


def test_over_selection_closes_with_enough() -> None:
    """The first updates close an over-selected round, and the others are called off."""
    state = after(plan(most=None), update("b"), state=PLANNING)

    assert actions(state, update("a")) == (
        Answer("a", 1, "accepted"),
        CancelAssignment("c", 1),
        CancelAssignment("d", 1),
        Fold(1, ("a", "b")),
    )


def test_an_asynchronous_round_calls_nobody_off() -> None:
    """The buffer is folded while the others go on with what they have begun."""
    state = after(update("b"), state=COLLECTING)

    assert actions(state, update("a")) == (Answer("a", 1, "accepted"), Fold(1, ("a", "b")))


def test_an_asynchronous_assignment_has_no_deadline() -> None:
    """The round's deadline closes the buffer; it is none of the clients'."""
    given = actions(PLANNING, plan(cohort="ab"), now=7.0)

    assert given == (Assign("a", 1, math.inf), Assign("b", 1, math.inf))


def test_the_next_plan_is_over_the_idle() -> None:
    """Who is at work is told to the policy apart from those whom it may choose."""
    assert actions(EVALUATING, RoundEvaluated(1)) == (PlanRound(2, ("a", "b"), ("c", "d")),)


def test_whoever_is_at_work_is_in_the_next_cohort() -> None:
    """A new round is of its own cohort and of those who began before; only the former are assigned."""
    given = actions(BETWEEN, plan(2, "ab"))

    assert [(each.client, each.round) for each in given if isinstance(each, Assign)] == [
        ("a", 2),
        ("b", 2),
    ]
    assert having(SECOND, "assigned") == ("a", "b", "c", "d")


def test_a_stale_update_counts() -> None:
    """An update that began in the round before is accepted in the open one."""
    assert answer(SECOND, update("c", 1)) == ("accepted", "")


def test_fresh_and_stale_updates_are_folded_together() -> None:
    """The buffer takes whatever comes first."""
    state = after(update("c", 1), state=SECOND)

    assert actions(state, update("a", 2))[-1] == Fold(2, ("a", "c"))


@pytest.mark.parametrize(
    ("state", "rest"),
    [
        (FOLDING, [RoundFolded(1, "d"), RoundEvaluated(1)]),
        (EVALUATING, [RoundEvaluated(1)]),
        (BETWEEN, []),
    ],
)
def test_an_update_between_two_rounds_counts_for_the_next(
    state: RunState, rest: list[Event]
) -> None:
    """The work of a client that delivers while no round is open is not lost."""
    delivered = after(update("c", 1), state=state)

    opened = after(*rest, plan(2, "ab"), state=delivered)

    assert having(opened, "accepted") == ("c",)


def test_enough_before_the_plan() -> None:
    """If enough came between two rounds, the next is folded at once; the new ones are assigned first."""
    state = after(update("c", 1), update("d", 1), state=EVALUATING)

    planning = after(RoundEvaluated(1), state=state)

    assert pending_actions(planning) == (PlanRound(2, ("a", "b"), ("c", "d")),)
    assert actions(planning, plan(2, "ab"))[2:] == (Fold(2, ("c", "d")),)


def test_an_update_counts_once_between_rounds() -> None:
    """The same bytes again are a duplicate, and other ones are refused."""
    state = after(update("c", 1), state=EVALUATING)

    assert answer(state, update("c", 1))[0] == "duplicate"
    assert answer(state, replace(update("c", 1), digest="other"))[0] == "rejected"


def test_work_that_would_be_too_stale_is_called_off() -> None:
    """When a round closes, those whom the next one could not take any more are called off."""
    second = after(*whole_round(2, update("a", 2), update("b", 2), cohort="ab"), state=BETWEEN)
    third = after(plan(3, "ab"), update("a", 3), state=second)

    given = actions(third, update("b", 3))

    assert given[1:] == (CancelAssignment("c", 1), CancelAssignment("d", 1), Fold(3, ("a", "b")))


def test_a_too_stale_update_is_rejected_with_the_bound() -> None:
    """What was called off is told how stale it is, and its client is idle."""
    state = after(
        *whole_round(2, update("a", 2), update("b", 2), cohort="ab"),
        *whole_round(3, update("a", 3), update("b", 3), cohort="ab"),
        state=BETWEEN,
    )

    verdict, reason = answer(state, update("c", 1))

    assert (verdict, reason.partition(":")[0]) == ("rejected", "too stale")
    assert "3 rounds" in reason
    assert pending_actions(state) == (PlanRound(4, ("a", "b", "c", "d")),)


def test_no_staleness_is_over_selection() -> None:
    """With max_staleness 0 a round that closes calls everybody off."""
    state = after(plan(most=0), update("a"), state=PLANNING)

    called_off = (CancelAssignment("c", 1), CancelAssignment("d", 1))
    assert actions(state, update("b"))[1:3] == called_off


def test_the_last_round_calls_everybody_off() -> None:
    """Nothing would fold what comes after the last round."""
    state = after(replace(START, rounds=1), *JOINED, RoundEvaluated(0), plan(), update("a"))

    given = actions(state, update("b"))

    assert given[1:] == (CancelAssignment("c", 1), CancelAssignment("d", 1), Fold(1, ("a", "b")))


def test_the_deadline_folds_what_is_there_or_fails() -> None:
    """At the deadline an asynchronous round below its quorum fails, and its members go on."""
    state = after(update("a"), state=COLLECTING)

    given = actions(state, Ticked(), now=60.0)

    assert given == (PlanRound(2, (), ("a", "b", "c", "d")),)


def test_a_failed_round_hands_its_updates_on() -> None:
    """What a buffer below its quorum has accepted counts in the next one, with its own base."""
    failed = after(Ticked(), state=after(update("a"), state=COLLECTING), now=60.0)

    given = actions(after(plan(2, ""), state=failed, now=60.0), update("b"), now=61.0)

    assert given[-1] == Fold(2, ("a", "b"))


def test_a_failed_round_hands_on_nothing_too_stale() -> None:
    """With max_staleness 0 the next round could not fold what the failed one has accepted."""
    strict = after(replace(plan(), max_staleness=0), update("a"), state=PLANNING)

    given = actions(strict, Ticked(), now=60.0)

    assert given[-1] == PlanRound(2, ("a", "b", "c", "d"), ())


def test_an_update_after_a_failed_round_counts() -> None:
    """Who began in a failed round delivers in the next one."""
    failed = after(Ticked(), state=COLLECTING, now=60.0)

    assert answer(after(plan(2, ""), state=failed, now=60.0), update("a", 1))[0] == "accepted"


def test_the_update_that_misses_a_deadline_counts_for_the_next_round() -> None:
    """An update that arrives after the deadline, before the timer, is one between two rounds."""
    state = after(update("a"), update("b"), state=after(replace(plan(), enough=3), state=PLANNING))

    given = actions(state, update("c"), now=60.0)

    assert given == (Fold(1, ("a", "b")), Answer("c", 1, "accepted"))


def test_too_many_failed_rounds_call_off_those_at_work() -> None:
    """A run that stops for its failures leaves nobody at work."""
    failed = after(Ticked(), plan(2, ""), state=COLLECTING, now=60.0)

    stopped = after(Ticked(), state=failed, now=120.0)

    cancelled = actions(failed, Ticked(), now=120.0)[:4]
    assert cancelled == tuple(CancelAssignment(each, 1) for each in "abcd")
    assert stopped.carried == {}


@pytest.mark.parametrize("state", [SECOND, FOLDING, EVALUATING, BETWEEN])
def test_a_stop_calls_off_those_of_earlier_rounds(state: RunState) -> None:
    """Whenever the run is stopped, those at work hear of it, by the round in which they began."""
    given = actions(state, RunStopped("enough"))

    assert {CancelAssignment("c", 1), CancelAssignment("d", 1)} <= set(given)


@pytest.mark.parametrize("state", [FOLDING, EVALUATING])
def test_an_undo_calls_off_those_at_work(state: RunState) -> None:
    """What began before the guard took a model back may have begun on it: it is not folded."""
    given = actions(state, RoundUndone(1, "the loss exploded"))

    cancelled = (CancelAssignment("c", 1), CancelAssignment("d", 1))
    assert given == (*cancelled, PlanRound(2, ("a", "b", "c", "d")))


@pytest.mark.parametrize("state", [SECOND, FOLDING, EVALUATING, BETWEEN])
def test_a_client_that_comes_back_goes_on_with_its_base(state: RunState) -> None:
    """It gets the assignment of the round in which it began, whether a round is open or not."""
    away = after(ClientLeft("c", "gone"), state=state)

    assert actions(away, ClientJoined("c", 100)) == (Assign("c", 1, math.inf),)


@pytest.mark.parametrize("state", [SECOND, FOLDING, EVALUATING, BETWEEN])
def test_a_crash_assigns_those_of_earlier_rounds_again(state: RunState) -> None:
    """A coordinator that comes back gives out what its clients have not delivered yet."""
    resumed = actions(state, RunResumed(), now=500.0)

    assert resumed[-2:] == (Assign("c", 1, math.inf), Assign("d", 1, math.inf))


@pytest.mark.parametrize("event", [ClientFailed("c", 1, "x"), UpdateRejected("c", 1, "NaN")])
def test_a_failure_between_rounds_makes_idle(event: Event) -> None:
    """A client that fails while no round is open gives its place up, and is benched."""
    state = after(event, state=EVALUATING)

    assert "c" not in state.carried
    assert actions(state, RoundEvaluated(1)) == (PlanRound(2, ("a", "b"), ("d",)),)


def test_a_failure_is_of_the_round_in_which_it_began() -> None:
    """A failure labelled with another round than the client's own changes nothing."""
    assert after(ClientFailed("c", 2, "x"), state=SECOND) == SECOND
    assert having(after(ClientFailed("c", 1, "x"), state=SECOND), "failed") == ("c",)


def test_a_synchronous_plan_drops_those_of_earlier_rounds() -> None:
    """A policy that goes back to synchronous rounds calls off who is still at work."""
    given = actions(BETWEEN, replace(plan(2, "ab"), max_staleness=None))

    assert given[:2] == (CancelAssignment("c", 1), CancelAssignment("d", 1))


@pytest.mark.parametrize(
    "event",
    [
        plan(2, "ac"),
        replace(plan(2, "ab"), enough=1),
        replace(plan(2, "ab"), enough=-1),
        replace(plan(2, "ab"), max_staleness=-1),
    ],
)
def test_impossible_plans(event: RoundPlanned) -> None:
    """A plan with somebody who is at work, or that closes below its quorum, is refused."""
    with pytest.raises(ProtocolError, match="got"):
        step(BETWEEN, event, 0.0)


def test_the_base_of_what_was_folded_is_remembered() -> None:
    """For every client, where the last of its updates began that is in the model."""
    state = after(*whole_round(2, update("c", 1), update("a", 2), cohort="ab"), state=BETWEEN)

    assert state.folded == {"a": 2, "b": 1, "c": 1}


def test_replay_is_the_same_machine() -> None:
    """The state comes back from the log of events."""
    log = [START, *JOINED, RoundEvaluated(0), plan(), update("a"), update("b"), RoundFolded(1, "d")]

    state = after(*log, update("c"), state=RunState())

    assert replay((event, 0.0) for event in [*log, update("c")]) == state
    assert pending_actions(state) == (Conclude(1), Assign("d", 1, math.inf))


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (
            after(update("d", 1), state=SECOND),
            "round 2: waiting for 1 of 2 updates (a, b, c), quorum 2, deadline in 41 s; "
            "1 of earlier rounds still at work",
        ),
        (FOLDING, "round 1: folding 2 updates; 2 of earlier rounds still at work"),
        (
            EVALUATING,
            "round 1: waiting for the evaluation of the model; 2 of earlier rounds still at work",
        ),
    ],
)
def test_why_waiting(state: RunState, sentence: str) -> None:
    """The sentence counts the updates that are missing, and tells who began before."""
    assert why_waiting(state, now=19.0) == sentence
