"""The round machine, one rule at a time. Time is a number; clients are letters."""

import pytest
from tests.server.phases import (
    COLLECTING,
    COMPLETE,
    EVALUATING,
    FOLDING,
    JOINED,
    PLANNING,
    START,
    actions,
    after,
    plan,
    update,
    verdict,
)

from antiphon.core.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    RoundEvaluated,
    RoundFolded,
    RoundUndone,
    Ticked,
    UpdateRejected,
)
from antiphon.server.machine.actions import (
    Assign,
    CancelAssignment,
    Conclude,
    Finish,
    Fold,
    PlanRound,
    Reply,
)
from antiphon.server.machine.round import step
from antiphon.server.machine.run_state import Outcome, RunState, having, present


def test_run_waits_for_clients() -> None:
    """Nothing is asked for until min_clients are present."""
    state = after(START)

    assert actions(state, ClientJoined("a", 1)) == ()


def test_untouched_model_is_evaluated_first() -> None:
    """With enough clients, the model before training is measured as round 0."""
    state = after(START, ClientJoined("a", 1))

    assert actions(state, ClientJoined("b", 1)) == (Conclude(0),)


def test_first_plan() -> None:
    """After that evaluation, round 1 is planned over the clients present, sorted."""
    state = after(START, *JOINED)

    assert actions(state, RoundEvaluated(0)) == (PlanRound(1, ("a", "b", "c")),)


def test_clients_may_join_before_the_start() -> None:
    """Clients that came before the run started count."""
    state = after(*JOINED)

    assert actions(state, START) == (Conclude(0),)


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

    assert given == (CancelAssignment("c", 1),)


def test_a_round_waits_for_members_who_may_come_back() -> None:
    """While its quorum needs a member that left, the round stays open until its deadline."""
    state = after(ClientLeft("a"), ClientLeft("b"), ClientLeft("c"), state=COLLECTING)

    back = after(ClientJoined("a", 100), state=state)

    assert (state.phase, having(back, "assigned")) == ("collecting", ("a",))


@pytest.mark.parametrize("cohort", ["", "ab"])
def test_quorum_above_the_cohort(cohort: str) -> None:
    """A plan whose quorum its cohort cannot reach fails at once instead of waiting."""
    state = after(plan(cohort=cohort, quorum=3), state=PLANNING)

    assert (state.phase, state.round, state.failed_in_a_row) == ("waiting", 2, 1)


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
    assert actions(FOLDING, RoundFolded(1, "d")) == (Conclude(1),)


def test_evaluation_ends_the_round() -> None:
    """After its evaluation the round is over and the next one is planned."""
    assert actions(EVALUATING, RoundEvaluated(1)) == (PlanRound(2, ("a", "b", "c")),)


@pytest.mark.parametrize("state", [FOLDING, EVALUATING])
def test_undone_round_ends(state: RunState) -> None:
    """A round that the stability guard undoes ends all the same, and does not count as failed."""
    state = after(RoundUndone(1, "the loss exploded"), state=state)

    assert (state.phase, state.round, state.failed_in_a_row) == ("planning", 2, 0)
    assert state.outcomes[0].ending == "undone"


def test_examples_are_kept_up_to_date() -> None:
    """A client that joins again may hold another number of examples."""
    state = after(ClientJoined("a", 7), state=COLLECTING)

    assert state.clients["a"].examples == 7
    assert present(state) == ("a", "b", "c")
