"""How much work a round asks of a client, as its owner's policy counts it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

COUNTED_BATCH: Final = 16
"""Examples of one step as `policy.max_steps` counts them."""


@dataclass(frozen=True)
class Work:
    """One client's part of a round. batch: examples of a pass; accumulation: passes of a step."""

    method: str
    steps: int
    batch: int = COUNTED_BATCH
    accumulation: int = 1

    @property
    def per_step(self) -> int:
        """Examples that one step takes together."""
        return self.batch * self.accumulation

    @property
    def draws(self) -> int:
        """Examples that are drawn in all, each as often as it is drawn."""
        return self.steps * self.per_step

    @property
    def counted_steps(self) -> int:
        """Steps of COUNTED_BATCH examples that are as much work; not fewer than the steps themselves."""
        return max(self.steps, math.ceil(self.draws / COUNTED_BATCH))

    def passes(self, examples: int) -> float:
        """Return how often a site with so many examples goes through them."""
        return self.draws / examples if examples else math.inf

    def largest_share(self, examples: int | None) -> float:
        """Return the share of the draws that one example has; none: of a site with enough of them.

        One draw more where a batch spans two epochs.
        """
        copies = math.ceil(self.passes(examples)) if examples else 1
        return copies / self.draws if self.draws else 1.0


def told_works(told: Mapping[str, Mapping[str, int]]) -> tuple[Work, ...]:
    """Return what a round is said to ask for, by role. Raises KeyError, TypeError or ValueError."""
    return tuple(
        _checked(Work(role, each["steps"], each["batch"], each["accumulation"]))
        for role, each in sorted(told.items())
    )


def _checked(work: Work) -> Work:
    if min(work.steps, work.batch, work.accumulation) < 1:
        raise ValueError(
            f"{work.method}: {work.steps} steps of {work.accumulation} × {work.batch} examples"
        )
    return work
