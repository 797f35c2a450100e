"""The round machine where a run goes back to an earlier model, because a newer one is damaged."""

from dataclasses import replace

import pytest
from tests.server.phases import (
    COLLECTING,
    COMPLETE,
    EVALUATING,
    EVERY_PHASE,
    START,
    after,
    plan,
    update,
)

from antiphon.core.errors import ProtocolError
from antiphon.core.events import (
    ClientFailed,
    RoundEvaluated,
    RoundFolded,
    RunResumed,
    RunRewound,
    RunStopped,
    UpdateReceived,
)
from antiphon.server.machine.actions import CancelAssignment, Finish, PlanRound
from antiphon.server.machine.round import step
from antiphon.server.machine.run_state import RunState

BACK = RunRewound(1, "damaged")
LONGER = replace(COMPLETE, run=replace(START, rounds=9), phase="planning", round=4, reason="")


def folded(state: RunState, number: int) -> RunState:
    """Return the state after the fold of a round that has been planned."""
    return after(*(update(each, number) for each in "abc"), RoundFolded(number, "d"), state=state)


SECOND = after(RoundEvaluated(1), plan(2), state=EVALUATING)
"""Round 2 is collecting."""
THIRD = after(RoundEvaluated(2), plan(3), state=folded(SECOND, 2))
"""Round 3 is collecting."""


def endings(state: RunState) -> list[tuple[int, str]]:
    return [(each.round, each.ending) for each in state.outcomes]


def test_rounds_after_it_do_not_count() -> None:
    """They keep their numbers, and the next round has one that was never used."""
    back, given = step(LONGER, BACK, 0.0)

    assert endings(back) == [(1, "folded"), (2, "rewound"), (3, "rewound")]
    assert given == (PlanRound(4, ("a", "b", "c"), (), ()),)


def test_the_open_round_ends() -> None:
    """Whoever is at work began on what does not count: it is called off, and nothing of it is folded."""
    collecting = replace(THIRD, run=replace(START, rounds=9))

    back, given = step(after(update("a", 3), state=collecting), BACK, 0.0)

    assert endings(back) == [(1, "folded"), (2, "rewound"), (3, "rewound")]
    assert given == (
        CancelAssignment("b", 3),
        CancelAssignment("c", 3),
        PlanRound(4, ("a", "b", "c"), (), ()),
    )


def test_a_fold_that_is_being_measured_is_taken_back() -> None:
    """Its state is the newest one, though its round is not over."""
    evaluating = folded(SECOND, 2)

    back, _ = step(evaluating, BACK, 0.0)

    assert evaluating.phase == "evaluating"
    assert endings(back) == [(1, "folded"), (2, "rewound")]
    assert (back.phase, back.round) == ("planning", 3)


def test_an_update_of_a_round_that_does_not_count_is_late() -> None:
    """It is not taken for one of the rounds that follow."""
    back = after(BACK, plan(4), state=replace(THIRD, run=replace(START, rounds=9)))

    late = after(UpdateReceived("a", 3, "x", 1, 100, 6), state=back)

    assert late.cohort["a"].status == "assigned"


def test_numbers_that_are_used_up_end_the_run() -> None:
    """Without more rounds it ends with the model that it went back to."""
    back, given = step(THIRD, BACK, 0.0)

    assert back.phase == "complete"
    assert given[-1] == Finish(True, "all rounds are over: 1 folded, 2 rewound")


def test_more_rounds_make_up_for_them() -> None:
    """A resumed run may have more, and then goes back."""
    more = RunResumed(config_hash="f", rounds=4)

    back = after(more, BACK, state=THIRD)

    assert (back.phase, back.round) == ("planning", 4)


def test_a_run_that_has_stopped_goes_on() -> None:
    """It is resumed first."""
    stopped = after(RunStopped("enough"), state=folded(SECOND, 2))

    back = after(RunResumed(), BACK, state=stopped)

    assert (back.phase, back.round) == ("planning", 3)


def test_failures_in_a_row_begin_anew() -> None:
    """So does the pause after them; a failed round stays one."""
    failed = after(
        *(ClientFailed(each, 3, "tired") for each in "abc"),
        state=replace(THIRD, run=replace(START, rounds=9)),
    )

    back = after(BACK, state=failed, now=1.0)

    assert (failed.failed_in_a_row, back.failed_in_a_row, back.not_before) == (1, 0, 0.0)
    assert endings(back) == [(1, "folded"), (2, "rewound"), (3, "failed")]


def test_what_is_in_the_model_is_what_was_folded_by_then() -> None:
    """A client whose last update is of a later round has none in it."""
    assert after(BACK, state=THIRD).folded == {}
    assert after(RunRewound(0, "x"), state=EVALUATING).folded == {}
    assert after(BACK, state=folded(SECOND, 2)).folded == dict.fromkeys("abc", 1)


@pytest.mark.parametrize("state", [*EVERY_PHASE[:-3], COLLECTING], ids=lambda state: state.phase)
def test_there_must_be_something_to_go_back_from(state: RunState) -> None:
    """Before the first fold, and to the newest model, nothing is rewound."""
    with pytest.raises(ProtocolError, match="models before the newest"):
        step(state, RunRewound(0), 0.0)


@pytest.mark.parametrize("number", [1, 2, 7])
def test_only_a_model_that_counts_can_be_gone_back_to(number: int) -> None:
    """Neither the newest, nor one that does not count, nor one that never was."""
    with pytest.raises(ProtocolError, match="models before the newest"):
        step(after(BACK, state=folded(SECOND, 2)), RunRewound(number), 0.0)
