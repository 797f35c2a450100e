"""A run in each phase of the round machine, and how it got there."""

from antiphon.core.events import (
    ClientJoined,
    Event,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RunStarted,
    RunStopped,
    UpdateReceived,
)
from antiphon.server.machine.actions import Action, Reply
from antiphon.server.machine.round import step
from antiphon.server.machine.run_state import RunState

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
