"""The end of a run at the round machine, by its rounds, a stop or a policy, and what a resume takes up."""

from dataclasses import replace

import pytest
from tests.server.phases import (
    COLLECTING,
    COMPLETE,
    EVALUATING,
    EVERY_PHASE,
    FOLDING,
    JOINED,
    PLANNING,
    START,
    STOPPED,
    actions,
    after,
    plan,
    update,
)

from antiphon.core.events import Event, RoundEvaluated, RoundFolded, RunResumed, RunStopped, Ticked
from antiphon.server.machine.actions import Assign, CancelAssignment, Conclude, Finish
from antiphon.server.machine.round import next_deadline, pending_actions, replay, step
from antiphon.server.machine.run_state import RunState


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

    assert actions(stopped, RunResumed()) == (Conclude(0),)


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


def test_replay_is_the_same_machine() -> None:
    """The state comes back from the log of events."""
    log: list[Event] = [*JOINED, START, RoundEvaluated(0), plan(), update("b")]

    assert replay((event, 0.0) for event in log) == after(*log)


def test_a_resume_may_add_rounds() -> None:
    """The run goes on to the new last round."""
    resumed = after(RunResumed(config_hash="new", rounds=5), state=FOLDING)

    assert (resumed.run.rounds, resumed.run.config_hash) == (5, "new")


def test_a_resume_may_end_the_run_after_what_is_done() -> None:
    """Between rounds, where no more than the new number were wanted, the run is complete."""
    planning = after(RoundFolded(1, "d"), RoundEvaluated(1), state=FOLDING)

    done, given = step(planning, RunResumed(config_hash="new", rounds=1), 0.0)

    assert given == (Finish(True, "all rounds are over: 1 folded"),)
    assert done.phase == "complete"
