"""What the engines of one thread share: they drive the round machine, and tell a monitor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from antiphon.core.events import (
    MEASURING,
    Event,
    PhaseTimed,
    RoundEvaluated,
    RoundPlanned,
    RoundUndone,
)
from antiphon.server.federation import Federation
from antiphon.server.machine.actions import (
    Action,
    Assign,
    CancelAssignment,
    Combine,
    Conclude,
    Finish,
    Fold,
    PlanRound,
)
from antiphon.simulation.monitor import Monitor


class Driver(ABC):
    """An engine: it delivers, calls off, and lets time pass; the federation does the rest."""

    def __init__(
        self, federation: Federation, monitor: Monitor, stopwatch: Callable[[], float]
    ) -> None:
        """Begin with nothing to do. stopwatch: real seconds, for the time by phase."""
        self._federation, self._monitor, self._stopwatch = federation, monitor, stopwatch
        self._timings: list[PhaseTimed] = []
        self._actions: deque[Action] = deque()

    @abstractmethod
    def _give(self, action: Assign) -> None:
        """Give a client its part of a round."""

    @abstractmethod
    def _call_off(self, action: CancelAssignment) -> None:
        """Take an assignment back."""

    @abstractmethod
    def _measure(self, asked: Sequence[Assign]) -> None:
        """Let these clients measure the model after a round."""

    def _work(self) -> Finish | None:
        """Do what is to be done; return the run's end, once it is there."""
        while self._actions:
            action = self._actions.popleft()
            self._perform(action)
            if isinstance(action, Finish):
                return action
        return None

    def _perform(self, action: Action) -> None:
        match action:
            case PlanRound() | Combine() | Fold() | Conclude() | Finish():
                self._take(self._federation.perform(action))
            case Assign() if action.exchange == MEASURING:
                self._measure([action, *self._others_asked()])
            case Assign():
                self._give(action)
            case CancelAssignment():
                self._call_off(action)

    def _others_asked(self) -> Iterator[Assign]:
        """Take the assignments to measure that follow."""
        while self._actions:
            action = self._actions[0]
            if not isinstance(action, Assign) or action.exchange != MEASURING:
                return
            self._actions.popleft()
            yield action

    def _submit(self, *events: Event) -> tuple[Action, ...]:
        """Journal events in one commit, the timings since the last one first.

        Returns what is to be done about them, which is on its way.
        """
        answers = self._federation.submit_many([*self._timings, *events])
        self._timings.clear()
        actions = tuple(action for each in answers for action in each)
        self._actions.extend(actions)
        return actions

    def _take(self, events: Iterable[Event]) -> None:
        """Journal what the federation has done, and tell of it."""
        happened = tuple(events)
        self._submit(*happened)
        for event in happened:
            match event:
                case RoundPlanned():
                    self._monitor.round_planned(event)
                case RoundUndone():
                    self._monitor.round_undone(event.round, event.reason)
                case RoundEvaluated() if event.metrics:
                    self._monitor.evaluated(event.round, event.metrics)

    @contextmanager
    def _timed(self, number: int, phase: str) -> Iterator[None]:
        began = self._stopwatch()
        yield
        self._note_time(number, phase, began)

    def _note_time(self, number: int, phase: str, began: float) -> None:
        self._timings.append(PhaseTimed(number, phase, self._stopwatch() - began))
