"""The round machine, one rule at a time. Time is a number; clients are letters."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from antiphon.core.errors import ProtocolError
from antiphon.core.events import (
    BytesMoved,
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
from antiphon.server.round import next_deadline, pending_actions, replay, step
from antiphon.server.run_state import Outcome, RunState, having, present
from antiphon.server.waiting import why_waiting

START = RunStarted("quickstart", "0123", rounds=3, min_clients=2, max_failed_rounds=2)
JOINED = [ClientJoined(each, 100) for each in "cab"]


def update(client: str, number: int = 1, digest: str = "") -> UpdateReceived:
    """Return an update; by default each client's digest is its own."""
    return UpdateReceived(client, number, digest or f"{client}{number}", 1, 100, 6)


def plan(number: int = 1, cohort: str = "abc", quorum: int = 2) -> RoundPlanned:
    """Return a plan whose deadline is 60 s away."""
    return RoundPlanned(number, tuple(cohort), quorum, deadline_s=60.0)


def after(*events: Event, state: RunState | None = None, now: float = 0.0) -> RunState:
    """Return the state after these events, all at `now`."""
    state = state or RunState()
    for event in events:
        state, _ = step(state, event, now)
    return state


def actions(state: RunState, event: Event, now: float = 0.0) -> tuple[Action, ...]:
    """Return what the machine asks for at an event."""
    return step(state, event, now)[1]


def verdict(state: RunState, event: Event, now: float = 0.0) -> str:
    """Return the verdict of the only reply to an event."""
    (reply,) = (each for each in actions(state, event, now) if isinstance(each, Reply))
    return reply.verdict


PLANNING = after(START, *JOINED, RoundEvaluated(0))
COLLECTING = after(plan(), state=PLANNING)
FOLDING = after(*map(update, "abc"), state=COLLECTING)
EVALUATING = after(RoundFolded(1, "d"), state=FOLDING)
REST: list[Event] = [RoundEvaluated(1)]
for number in (2, 3):
    REST += [plan(number), *(update(each, number) for each in "abc")]
    REST += [RoundFolded(number, "d"), RoundEvaluated(number)]
COMPLETE = after(*REST, state=EVALUATING)
STOPPED = after(RunStopped("enough"), state=COLLECTING)
EVERY_PHASE = [RunState(), after(START), PLANNING, COLLECTING, FOLDING, EVALUATING, COMPLETE]
EVERY_PHASE.append(STOPPED)


def test_every_phase_is_tested() -> None:
    """The states above are one of each phase, in order."""
    assert [state.phase for state in EVERY_PHASE] == [
        *("new", "waiting", "planning", "collecting", "folding", "evaluating"),
        *("complete", "stopped"),
    ]


def test_run_waits_for_clients() -> None:
    """Nothing is asked for until min_clients are present."""
    state = after(START)

    assert actions(state, ClientJoined("a", 1)) == ()


def test_untouched_model_is_evaluated_first() -> None:
    """With enough clients, the model before training is measured as round 0."""
    state = after(START, ClientJoined("a", 1))

    assert actions(state, ClientJoined("b", 1)) == (Evaluate(0),)


def test_first_plan() -> None:
    """After that evaluation, round 1 is planned over the clients present, sorted."""
    state = after(START, *JOINED)

    assert actions(state, RoundEvaluated(0)) == (PlanRound(1, ("a", "b", "c")),)


def test_clients_may_join_before_the_start() -> None:
    """Clients that came before the run started count."""
    state = after(*JOINED)

    assert actions(state, START) == (Evaluate(0),)


def test_client_that_left_is_not_planned_with() -> None:
    """A client that has left is not offered to the policy."""
    state = after(START, *JOINED, ClientLeft("b"))

    assert actions(state, RoundEvaluated(0)) == (PlanRound(1, ("a", "c")),)


def test_plan_assigns() -> None:
    """A plan assigns every member of the cohort, with the deadline in absolute seconds."""
    given = actions(PLANNING, plan(cohort="ca"), now=1000.0)

    assert given == (Assign("a", 1, 1060.0), Assign("c", 1, 1060.0))


def test_planned_client_that_left_meanwhile() -> None:
    """A member that left while the plan was made is settled from the beginning."""
    state = after(ClientLeft("c"), plan(), state=PLANNING)

    assert (having(state, "assigned"), having(state, "left")) == (("a", "b"), ("c",))


def test_update_is_accepted() -> None:
    """The first update of a cohort member is accepted."""
    assert actions(COLLECTING, update("a")) == (Reply("a", 1, "accepted"),)


def test_same_update_again_is_a_duplicate() -> None:
    """The same bytes again are acknowledged and change nothing."""
    state = after(update("a"), state=COLLECTING)

    assert verdict(state, update("a")) == "duplicate"
    assert after(update("a"), state=state) == state


@pytest.mark.parametrize("state", [FOLDING, EVALUATING, COMPLETE])
def test_duplicate_after_the_round(state: RunState) -> None:
    """A client whose reply was lost learns later too that its last update was accepted."""
    assert verdict(state, update("a", state.round)) == "duplicate"


def test_second_update_is_rejected() -> None:
    """Other bytes from the same client in the same round are rejected, the first ones stay."""
    state = after(update("a"), state=COLLECTING)

    assert verdict(state, update("a", digest="other")) == "rejected"
    assert after(update("a", digest="other"), state=state) == state


def test_update_of_a_closed_round_is_late() -> None:
    """An update for a round before the open one, or one that has closed, is late."""
    second = after(RoundEvaluated(1), plan(2), state=EVALUATING)

    assert verdict(second, update("a", 1, "other")) == "late"
    assert verdict(FOLDING, update("a", 1, "other")) == "late"


def test_update_of_a_future_round_is_rejected() -> None:
    """An update for a round that has not been opened is rejected."""
    assert verdict(COLLECTING, update("a", 2)) == "rejected"
    assert verdict(PLANNING, update("a", 1)) == "rejected"


@pytest.mark.parametrize("number", [0, -1])
def test_update_of_no_round_is_rejected(number: int) -> None:
    """There is no update for round 0 or below."""
    assert verdict(COLLECTING, update("a", number)) == "rejected"


def test_stranger_is_unknown() -> None:
    """A client that never joined is told to join."""
    assert verdict(COLLECTING, update("z")) == "unknown"
    assert verdict(COLLECTING, UpdateRejected("z", 1, "NaN")) == "unknown"


def test_outsider_is_rejected() -> None:
    """A client that is not in the cohort cannot contribute to the round."""
    state = after(plan(cohort="ab"), state=PLANNING)

    assert verdict(state, update("c")) == "rejected"


def test_round_closes_when_all_are_in() -> None:
    """The last update closes the round; the fold's order is the names', not the arrivals'."""
    state = after(update("c"), update("a"), state=COLLECTING)

    assert actions(state, update("b")) == (Reply("b", 1, "accepted"), Fold(1, ("a", "b", "c")))


def test_failed_member_settles() -> None:
    """With the quorum reached, a failure of the last member closes the round."""
    state = after(update("a"), update("b"), state=COLLECTING)

    assert actions(state, ClientFailed("c", 1, "out of memory")) == (Fold(1, ("a", "b")),)


def test_member_that_leaves_settles() -> None:
    """With the quorum reached, the round does not wait for a member that left."""
    state = after(update("a"), update("b"), state=COLLECTING)

    assert actions(state, ClientLeft("c")) == (Fold(1, ("a", "b")),)


def test_invalid_update_settles() -> None:
    """A member whose update was invalid is told so, and the round does not wait for it."""
    state = after(update("a"), update("b"), state=COLLECTING)

    assert actions(state, UpdateRejected("c", 1, "NaN in q_proj")) == (
        Reply("c", 1, "rejected", "NaN in q_proj"),
        Fold(1, ("a", "b")),
    )


def test_no_second_try_after_an_invalid_update() -> None:
    """A client whose update was invalid is out for this round."""
    state = after(UpdateRejected("c", 1, "NaN"), state=COLLECTING)

    assert verdict(state, update("c")) == "rejected"


def test_invalid_update_does_not_unseat_a_valid_one() -> None:
    """What was accepted stays accepted when the client sends something invalid afterwards."""
    state = after(update("a"), state=COLLECTING)

    assert after(UpdateRejected("a", 1, "NaN"), state=state) == state


def test_failed_client_may_still_deliver() -> None:
    """A client that failed and then delivers before the round closes is counted."""
    state = after(ClientFailed("a", 1, "out of memory"), state=COLLECTING)

    assert verdict(state, update("a")) == "accepted"


def test_client_that_comes_back_is_assigned_again() -> None:
    """A member that left and joins again while its round is open gets its part again."""
    state = after(ClientLeft("a"), state=COLLECTING)

    assert actions(state, ClientJoined("a", 100)) == (Assign("a", 1, 60.0),)


def test_client_that_comes_back_after_its_update() -> None:
    """A member whose update is in already is not assigned again."""
    state = after(update("a"), ClientLeft("a"), state=COLLECTING)

    assert actions(state, ClientJoined("a", 100)) == ()


def test_joining_twice_is_harmless() -> None:
    """A present client that says hello again is not assigned twice."""
    assert actions(COLLECTING, ClientJoined("a", 100)) == ()


def test_client_that_comes_back_after_the_close() -> None:
    """A member that joins again when its round has closed has nothing more to do in it."""
    state = after(update("a"), update("b"), ClientLeft("c"), state=COLLECTING)

    assert step(state, ClientJoined("c", 100), 0.0)[1] == ()
    assert having(after(ClientJoined("c", 100), state=state), "left") == ("c",)


def test_failed_client_that_stayed() -> None:
    """A present client that has failed is not given the same work again for saying hello."""
    state = after(ClientFailed("a", 1, "out of memory"), state=COLLECTING)

    assert actions(state, ClientJoined("a", 100)) == ()


def test_update_counts_after_its_client_left() -> None:
    """An accepted update stays in the round when its client leaves."""
    state = after(update("a"), ClientLeft("a"), state=COLLECTING)

    assert having(state, "accepted") == ("a",)


def test_deadline_closes_with_quorum() -> None:
    """At the deadline a round with its quorum is folded, and the others are called off."""
    state = after(update("a"), update("b"), state=COLLECTING)

    assert actions(state, Ticked(), now=60.0) == (CancelAssignment("c", 1), Fold(1, ("a", "b")))


def test_tick_before_the_deadline() -> None:
    """A tick before the deadline changes nothing."""
    assert step(COLLECTING, Ticked(), 59.9) == (COLLECTING, ())


def test_deadline_without_quorum_fails_the_round() -> None:
    """At the deadline a round below its quorum is not folded, and the next number is planned."""
    state = after(update("a"), state=COLLECTING)

    given = actions(state, Ticked(), now=60.0)

    cancelled = (CancelAssignment("b", 1), CancelAssignment("c", 1))
    assert given == (*cancelled, PlanRound(2, ("a", "b", "c")))


def test_outcome_of_a_failed_round() -> None:
    """How a round failed, and with which updates, is remembered."""
    state = after(update("a"), UpdateRejected("c", 1, "NaN"), state=COLLECTING)

    (outcome,) = after(Ticked(), state=state, now=60.0).outcomes

    reason = "the deadline has passed: 1 of 3 updates, quorum 2"
    assert outcome == Outcome(1, "failed", reason, ("a",), ("c",))


def test_deadline_binds_before_the_timer() -> None:
    """An update that arrives after the deadline is late, even if the timer has not gone off."""
    state = after(update("a"), update("b"), state=COLLECTING)

    given = actions(state, update("c"), now=60.0)

    reply = Reply("c", 1, "late", "round 1 is closed")
    assert given == (CancelAssignment("c", 1), Fold(1, ("a", "b")), reply)


def test_quorum_out_of_reach_fails_at_once() -> None:
    """When too few members are left for the quorum, the round does not wait for its deadline."""
    state = after(ClientFailed("a", 1, "x"), state=COLLECTING)

    given = actions(state, ClientFailed("b", 1, "x"))

    assert given == (CancelAssignment("c", 1), PlanRound(2, ("a", "b", "c")))


def test_a_round_waits_for_members_who_may_come_back() -> None:
    """While its quorum needs a member that left, the round stays open until its deadline."""
    state = after(ClientLeft("a"), ClientLeft("b"), ClientLeft("c"), state=COLLECTING)

    back = after(ClientJoined("a", 100), state=state)

    assert (state.phase, having(back, "assigned")) == ("collecting", ("a",))


@pytest.mark.parametrize("cohort", ["", "ab"])
def test_quorum_above_the_cohort(cohort: str) -> None:
    """A plan whose quorum its cohort cannot reach fails at once instead of waiting."""
    state = after(plan(cohort=cohort, quorum=3), state=PLANNING)

    assert (state.phase, state.round, state.failed_in_a_row) == ("planning", 2, 1)


def test_too_many_failed_rounds_stop_the_run() -> None:
    """After max_failed_rounds in a row the run stops with the reason of the last."""
    state = after(Ticked(), plan(2), state=COLLECTING, now=60.0)

    (*_, finish) = actions(state, Ticked(), now=120.0)

    why = "the deadline has passed: 0 of 3 updates, quorum 2"
    assert finish == Finish(False, f"2 rounds in a row have failed; round 2: {why}")


def test_fold_resets_the_count_of_failures() -> None:
    """Only failures in a row stop a run: a fold between them begins the count anew."""
    state = after(Ticked(), state=COLLECTING, now=60.0)

    state = after(plan(2), *(update(each, 2) for each in "abc"), state=state, now=60.0)

    assert state.failed_in_a_row == 0


def test_too_few_clients_between_rounds() -> None:
    """Before a round the machine waits again if clients are missing, and goes on when they come."""
    state = after(ClientLeft("a"), ClientLeft("b"), state=EVALUATING)

    state = after(RoundEvaluated(1), state=state)

    assert (state.phase, state.round) == ("waiting", 2)
    assert actions(state, ClientJoined("a", 1)) == (PlanRound(2, ("a", "c")),)


def test_fold_leads_to_evaluation() -> None:
    """A folded round is evaluated."""
    assert actions(FOLDING, RoundFolded(1, "d")) == (Evaluate(1),)


def test_evaluation_ends_the_round() -> None:
    """After its evaluation the round is over and the next one is planned."""
    assert actions(EVALUATING, RoundEvaluated(1)) == (PlanRound(2, ("a", "b", "c")),)


@pytest.mark.parametrize("state", [FOLDING, EVALUATING])
def test_undone_round_ends(state: RunState) -> None:
    """A round that the stability guard undoes ends all the same, and does not count as failed."""
    state = after(RoundUndone(1, "the loss exploded"), state=state)

    assert (state.phase, state.round, state.failed_in_a_row) == ("planning", 2, 0)
    assert state.outcomes[0].ending == "undone"


def test_run_completes() -> None:
    """After its last round the run is complete, and says how its rounds ended."""
    assert pending_actions(COMPLETE) == (Finish(True, "all rounds are over: 3 folded"),)


def test_run_without_a_fold_is_not_complete() -> None:
    """A run that ends without one folded round has stopped: it trained nothing."""
    short = replace(START, rounds=1)
    state = after(short, *JOINED, RoundEvaluated(0), plan())

    assert actions(state, Ticked(), now=60.0)[-1] == Finish(False, "all rounds are over: 1 failed")


def test_stop_calls_off() -> None:
    """A stop in the middle of a round calls its clients off and finishes."""
    assert actions(after(update("a"), state=COLLECTING), RunStopped("enough")) == (
        CancelAssignment("b", 1),
        CancelAssignment("c", 1),
        Finish(False, "enough"),
    )


def test_policy_completes_a_run() -> None:
    """A run that its policy ends after a folded round has done what was asked of it, and is over."""
    planning = after(RoundFolded(1, "d"), RoundEvaluated(1), state=FOLDING)

    done, given = step(planning, RunStopped("spent", by_policy=True), 0.0)

    assert given == (Finish(True, "spent"),)
    assert step(done, RunResumed(), 9.0) == (done, (Finish(True, "spent"),))


def test_policy_that_holds_no_round_completes_nothing() -> None:
    """A run that its policy ends before any round was folded has trained nothing."""
    assert actions(PLANNING, RunStopped("spent", by_policy=True)) == (Finish(False, "spent"),)


@pytest.mark.parametrize(
    ("state", "endings"),
    [(PLANNING, []), (COLLECTING, ["stopped"]), (FOLDING, ["stopped"]), (EVALUATING, ["folded"])],
)
def test_stopped_round(state: RunState, endings: list[str]) -> None:
    """A stop ends the open round: what was folded stays folded, what was not is given up."""
    stopped = after(RunStopped("enough"), state=state)

    assert [outcome.ending for outcome in stopped.outcomes] == endings


@pytest.mark.parametrize("state", [COMPLETE, STOPPED])
def test_stop_after_the_end(state: RunState) -> None:
    """A stop that comes after the end changes nothing."""
    assert step(state, RunStopped("again"), 0.0) == (state, ())


def test_resume_of_a_stopped_run() -> None:
    """A stopped run is taken up with the next round, and its failures are forgiven."""
    failed = after(Ticked(), plan(2), state=COLLECTING, now=60.0)
    stopped = after(Ticked(), state=failed, now=120.0)

    resumed = after(RunResumed(), state=stopped)

    assert (stopped.phase, resumed.phase) == ("stopped", "planning")
    assert (resumed.round, resumed.failed_in_a_row) == (3, 0)


def test_resume_of_a_run_stopped_before_round_1() -> None:
    """A run that was stopped before its first evaluation begins with that again."""
    stopped = after(RunStopped("enough"), state=after(START, *JOINED))

    assert actions(stopped, RunResumed()) == (Evaluate(0),)


def test_resume_begins_the_deadline_anew() -> None:
    """A deadline that passed while no coordinator was there does not fail the round."""
    state, given = step(after(update("a"), state=COLLECTING), RunResumed(), 5000.0)

    assert given == (Assign("b", 1, 5060.0), Assign("c", 1, 5060.0))
    assert next_deadline(state) == 5060.0


@pytest.mark.parametrize("state", EVERY_PHASE[1:])
def test_resume_asks_for_what_is_pending(state: RunState) -> None:
    """In every phase a resumed run asks for all that its state waits for."""
    resumed, given = step(state, RunResumed(), 5000.0)

    assert given == pending_actions(resumed)


def test_no_deadline_outside_of_collecting() -> None:
    """The engine's timer runs only while updates are collected."""
    assert [next_deadline(state) for state in EVERY_PHASE if state.phase != "collecting"] == (
        [None] * 7
    )
    assert next_deadline(COLLECTING) == 60.0


STARTED = ("waiting", "planning", "collecting", "folding", "evaluating", "complete", "stopped")
ENGINE_EVENTS: list[tuple[Callable[[int], Event], tuple[str, ...]]] = [
    (lambda number: START, ("new",)),
    (lambda number: RunResumed(), STARTED),
    (lambda number: RunStopped("enough"), STARTED),
    (lambda number: plan(number), ("planning",)),
    (lambda number: RoundFolded(number, "d"), ("folding",)),
    (lambda number: RoundUndone(number, "x"), ("folding", "evaluating")),
    (lambda number: RoundEvaluated(number), ("evaluating",)),
]
OUT_OF_PLACE = [
    pytest.param(state, made(state.round), id=f"{type(made(0)).__name__}-{state.phase}")
    for made, phases in ENGINE_EVENTS
    for state in EVERY_PHASE
    if state.phase not in phases
]


@pytest.mark.parametrize(("state", "event"), OUT_OF_PLACE)
def test_events_out_of_place(state: RunState, event: Event) -> None:
    """What an engine reports in a phase where it cannot happen is refused."""
    with pytest.raises(ProtocolError, match="got"):
        step(state, event, 0.0)


@pytest.mark.parametrize("state", EVERY_PHASE, ids=lambda state: state.phase)
def test_events_in_place(state: RunState) -> None:
    """What an engine may report in a phase is taken, and nothing else is refused by mistake."""
    for made, phases in ENGINE_EVENTS:
        if state.phase in phases:
            after, _ = step(state, made(state.round), 0.0)
            assert after.clients == state.clients


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (PLANNING, plan(2)),
        (FOLDING, RoundFolded(2, "d")),
        (EVALUATING, RoundEvaluated(0)),
        (FOLDING, RoundUndone(0, "x")),
    ],
)
def test_events_of_another_round(state: RunState, event: Event) -> None:
    """What an engine reports of a round that is not in work is refused."""
    with pytest.raises(ProtocolError, match="but round 1 is"):
        step(state, event, 0.0)


@pytest.mark.parametrize(
    "event",
    [
        plan(cohort="abz"),
        plan(cohort="aa"),
        plan(quorum=0),
        replace(plan(), deadline_s=0.0),
        replace(plan(), deadline_s=math.nan),
    ],
)
def test_impossible_plans(event: RoundPlanned) -> None:
    """A plan with a stranger, a client twice, no quorum or no time is refused."""
    with pytest.raises(ProtocolError, match="got"):
        step(PLANNING, event, 0.0)


@pytest.mark.parametrize("terms", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_impossible_terms(terms: tuple[int, int, int]) -> None:
    """A run needs at least one round, one client and one failure to stop at."""
    with pytest.raises(ProtocolError, match=">= 1"):
        step(RunState(), RunStarted("quickstart", "0123", *terms), 0.0)


@pytest.mark.parametrize("state", EVERY_PHASE, ids=lambda state: state.phase)
def test_observations_change_nothing(state: RunState) -> None:
    """Measurements go past the machine, also after a deadline."""
    assert step(state, BytesMoved(1, "a", "up", "update", 10), 1e9) == (state, ())


def test_replay_is_the_same_machine() -> None:
    """The state comes back from the log of events."""
    log: list[Event] = [*JOINED, START, RoundEvaluated(0), plan(), update("b")]

    assert replay((event, 0.0) for event in log) == after(*log)


def test_examples_are_kept_up_to_date() -> None:
    """A client that joins again may hold another number of examples."""
    state = after(ClientJoined("a", 7), state=COLLECTING)

    assert state.clients["a"].examples == 7
    assert present(state) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (RunState(), "the run has not started"),
        (
            after(START, ClientJoined("a", 1)),
            "before the first round: waiting for clients (1 of the 2 needed are here)",
        ),
        (
            after(START, *JOINED),
            "before the first round: waiting for the evaluation of the untouched model",
        ),
        (PLANNING, "round 1: waiting for the plan over 3 clients"),
        (
            after(update("b"), state=COLLECTING),
            "round 1: waiting for 2 of 3 updates (a, c), quorum 2, deadline in 41 s",
        ),
        (FOLDING, "round 1: folding 3 updates"),
        (EVALUATING, "round 1: waiting for the evaluation of the model"),
        (COMPLETE, "complete: all rounds are over: 3 folded"),
        (STOPPED, "stopped: enough"),
    ],
)
def test_why_waiting(state: RunState, sentence: str) -> None:
    """Every phase says in one sentence what it waits for."""
    assert why_waiting(state, now=19.0) == sentence


@pytest.mark.parametrize(
    ("deadline_s", "end"),
    [
        (60.0, "deadline in 60 s"),
        (3600.0, "deadline in 60 min"),
        (1e5, "deadline in 27.8 h"),
        (math.inf, "no deadline"),
    ],
)
def test_time_left_in_words(deadline_s: float, end: str) -> None:
    """The time left is told in the unit that people would use."""
    state = after(replace(plan(), deadline_s=deadline_s), state=PLANNING)

    assert why_waiting(state, now=0.0).endswith(end)


def test_passed_deadline_in_words() -> None:
    """Past the deadline, before the timer, no negative time is shown."""
    assert why_waiting(COLLECTING, now=99.0).endswith("the deadline has passed")


def test_many_names_are_counted() -> None:
    """Of a large cohort, five names are shown and the others counted."""
    state = after(*(ClientJoined(each, 1) for each in "defgh"), state=PLANNING)

    state = after(plan(cohort="abcdefgh"), state=state)

    assert "8 of 8 updates (a, b, c, d, e and 3 more)" in why_waiting(state, 0.0)
