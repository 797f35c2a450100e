"""The phases of the round machine: which events each one takes, and what it waits for, in words."""

import math
from collections.abc import Callable
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
    after,
    plan,
    update,
)

from antiphon.core.errors import ProtocolError
from antiphon.core.events import (
    BytesMoved,
    ClientJoined,
    Event,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunResumed,
    RunStarted,
    RunStopped,
)
from antiphon.server.machine.round import next_deadline, step
from antiphon.server.machine.run_state import RunState
from antiphon.server.machine.waiting import why_waiting


def test_every_phase_is_tested() -> None:
    """The states of `phases` are one of each phase, in order."""
    assert [state.phase for state in EVERY_PHASE] == [
        *("new", "waiting", "planning", "collecting", "folding", "evaluating"),
        *("complete", "stopped"),
    ]


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
