"""How much a client may spend on one assignment, and the count of what it has spent.

A time budget stops a slow client before its round's deadline, so that what it has done still counts.
Stopping changes how many steps are taken and nothing else: the time itself is only reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Each = TypeVar("Each")


@dataclass(frozen=True)
class Budget:
    """seconds: of the whole assignment, loading its model included (none: no limit); now: a clock that
    never goes back, in seconds; max_tokens: stop after the step that reaches it (0: no limit).
    """

    seconds: float | None = None
    now: Callable[[], float] = time.monotonic
    max_tokens: int = 0

    def with_tokens(self, max_tokens: int) -> Budget:
        """Return the same budget with the stricter of both token limits."""
        limits = [limit for limit in (self.max_tokens, max_tokens) if limit]
        return Budget(self.seconds, self.now, min(limits, default=0))


class Meter:
    """Counts the steps, tokens and seconds of one assignment, from the moment it is made."""

    def __init__(self, budget: Budget | None = None) -> None:
        """Start counting; without a budget nothing is limited."""
        self._budget = budget or Budget()
        self._started = self._budget.now()
        self._first_step_began = self._started
        self.steps = 0
        self.tokens = 0

    def limit(self, steps: Iterable[Each]) -> Iterator[Each]:
        """Yield from `steps` while the budget allows another; the first is always allowed."""
        for each in steps:
            if self.steps == 0:
                self._first_step_began = self._budget.now()
            elif not self._allows_another():
                return
            yield each

    def step_taken(self, tokens: int) -> None:
        """Count a step that has seen `tokens` tokens, padding not counted."""
        self.steps += 1
        self.tokens += tokens

    def metrics(self) -> dict[str, float]:
        """Return what an update reports of its own cost: `seconds` and `tokens`."""
        return {"seconds": self._budget.now() - self._started, "tokens": float(self.tokens)}

    def _allows_another(self) -> bool:
        budget = self._budget
        if budget.max_tokens and self.tokens >= budget.max_tokens:
            return False
        if budget.seconds is None:
            return True
        now = budget.now()
        mean = (now - self._first_step_began) / self.steps
        return now + mean <= self._started + budget.seconds
