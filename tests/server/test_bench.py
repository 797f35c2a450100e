"""Who fails sits out some rounds, and a round that fails is followed by a pause."""

from hypothesis import given
from hypothesis import strategies as st
from tests.server.phases import JOINED, START, actions, after, plan, update

from antiphon.core.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    RoundEvaluated,
    RoundFolded,
    RunResumed,
    Ticked,
    UpdateRejected,
)
from antiphon.server.machine.actions import CancelAssignment, Fold, PlanRound
from antiphon.server.machine.bench import LONGEST, Bench, after_failure, is_benched, pause_s
from antiphon.server.machine.round import next_deadline, pending_actions
from antiphon.server.machine.run_state import RunState, having


def folded(state: RunState, number: int, cohort: str, *others: object) -> RunState:
    """Return the state after a round of this cohort in which these deliver, after what `others` caused."""
    events = [plan(number, cohort), *others, *(update(each, number) for each in cohort)]
    return after(*events, RoundFolded(number, "d"), RoundEvaluated(number), state=state)


PLANNING = after(START, *JOINED, RoundEvaluated(0))
FAILED = ClientFailed("a", 1, "policy.upload_round")


def test_a_client_that_fails_sits_out_the_next_round() -> None:
    """The others go on without it."""
    state = after(plan(), FAILED, update("b"), update("c"), RoundFolded(1, "d"), state=PLANNING)

    assert actions(state, RoundEvaluated(1)) == (PlanRound(2, ("b", "c")),)


def test_a_client_whose_update_is_refused_sits_out_the_next_round() -> None:
    """What it sent was of no use, and the next one would hardly be of more."""
    state = after(plan(), UpdateRejected("a", 1, "NaN"), update("b"), update("c"), state=PLANNING)

    after_fold = after(RoundFolded(1, "d"), state=state)

    assert actions(after_fold, RoundEvaluated(1)) == (PlanRound(2, ("b", "c")),)


def test_a_client_comes_back_on_trial() -> None:
    """After its bench it is planned with again, and named, since no quorum should count on it."""
    state = folded(after(START, *JOINED, RoundEvaluated(0)), 1, "bc")
    benched = after(plan(2), ClientFailed("a", 2, "x"), update("b", 2), update("c", 2), state=state)
    planning = after(RoundFolded(2, "d"), RoundEvaluated(2), state=benched)
    skipped = after(plan(3, "bc"), update("b", 3), state=planning)

    assert is_benched(skipped.benches, "a", 3)
    assert not is_benched(skipped.benches, "a", 4)


def test_an_accepted_update_clears_the_bench() -> None:
    """Whoever failed and delivers after all before the round closes is not benched."""
    state = after(plan(), FAILED, update("a"), state=PLANNING)

    assert state.benches == {}


def test_a_failure_is_counted_once_for_one_assignment() -> None:
    """A client that says twice that it failed has failed once."""
    state = after(plan(), FAILED, FAILED, UpdateRejected("a", 1, "NaN"), state=PLANNING)

    assert state.benches["a"].failures == 1


def test_a_failure_for_another_round_benches_nobody() -> None:
    """Nor does one of a client that has no part."""
    state = after(plan(cohort="bc"), FAILED, ClientFailed("b", 7, "x"), state=PLANNING)

    assert state.benches == {}


@given(st.integers(1, 40))
def test_the_bench_doubles_up_to_eight_rounds(failures: int) -> None:
    """1, 2, 4, 8, 8, … rounds after each further failure in a row."""
    bench: Bench | None = None
    for _ in range(failures):
        bench = after_failure(bench, 10, "x")

    assert bench is not None
    assert bench.until - 10 == min(LONGEST, 2 ** (failures - 1))


def test_the_nearest_to_their_end_come_back_where_too_few_are_left() -> None:
    """Below the fewest updates that a round needs, the run does not wait for the bench to be over."""
    started = after(START, *JOINED, RoundEvaluated(0))
    needy = RunState(**{**vars(started), "run": type(START)(**{**vars(START), "fewest": 2})})
    twice = {"a": Bench(2, 4), "b": Bench(1, 3), "c": Bench(3, 9)}
    sitting = RunState(**{**vars(needy), "benches": twice})

    assert pending_actions(sitting) == (PlanRound(1, ("a", "b"), (), ("a", "b")),)


FAST = after(plan(quorum=3), FAILED, state=PLANNING)


def test_a_round_that_fails_at_once_is_followed_by_a_pause() -> None:
    """The next one is planned when the pause is over, not in the same moment."""
    assert (FAST.phase, next_deadline(FAST)) == ("waiting", pause_s(1))
    assert actions(FAST, Ticked(), pause_s(1) - 0.1) == ()
    assert actions(FAST, Ticked(), pause_s(1)) == (PlanRound(2, ("b", "c")),)


def test_the_pause_grows_with_failed_rounds_in_a_row() -> None:
    """It is bounded too."""
    pauses = [pause_s(failed) for failed in range(1, 60)]

    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[1] < pauses[-1] <= 300.0


def test_a_round_that_took_long_to_fail_is_followed_by_none() -> None:
    """The pause counts from the plan."""
    late = after(plan(quorum=3), state=PLANNING)

    assert actions(late, FAILED, 59.0)[-1] == PlanRound(2, ("b", "c"))


def test_a_client_that_joins_ends_the_pause() -> None:
    """It may be the one that was missing."""
    assert actions(FAST, ClientJoined("d", 1), 1.0) == (PlanRound(2, ("b", "c", "d")),)


def test_a_benched_client_that_comes_back_does_not_end_the_pause() -> None:
    """Else one that fails, leaves and joins could use up all rounds within a moment."""
    left = after(ClientLeft("a"), state=FAST)

    assert actions(left, ClientJoined("a", 1), 1.0) == ()


def test_a_resume_ends_the_pause() -> None:
    """Whoever starts the coordinator again has looked at the fleet."""
    assert actions(FAST, RunResumed(), 1.0) == (PlanRound(2, ("b", "c")),)
    assert actions(FAST, RunResumed(clock_stood=True), 1.0) == ()


def test_a_revoked_client_is_gone() -> None:
    """Nothing is waited for from it any more, and nothing is asked of it."""
    state = after(plan(), update("b"), ClientRevoked("a"), state=PLANNING)

    assert (having(state, "rejected"), state.clients["a"].revoked) == (("a",), True)
    assert actions(state, update("c"))[-1] == Fold(1, ("b", "c"))


def test_an_accepted_update_of_a_revoked_client_does_not_count() -> None:
    """It is dropped from the fold as long as that has not begun."""
    state = after(plan(), update("a"), ClientRevoked("a"), update("b"), state=PLANNING)

    assert actions(state, update("c"))[-1] == Fold(1, ("b", "c"))


def test_a_revocation_can_put_the_quorum_out_of_reach() -> None:
    """The round then fails, like any without its quorum."""
    state = after(plan(quorum=3), update("a"), state=PLANNING)

    assert actions(state, ClientRevoked("a")) == (
        CancelAssignment("b", 1),
        CancelAssignment("c", 1),
    )


def test_a_client_that_joins_again_is_not_revoked_any_more() -> None:
    """A new token lets it come back."""
    state = after(plan(), ClientRevoked("a"), ClientJoined("a", 1), state=PLANNING)

    assert not state.clients["a"].revoked
