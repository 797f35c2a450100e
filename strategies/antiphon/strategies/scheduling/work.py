"""How many local steps each member of a cohort takes.

`equal` gives the same number to all. `balanced` lets the cohort finish together: with transfer time c_i
and step time p_i, the fastest member takes all its steps, n of them, in T = min_i (c_i + n_i·p_i), and
everybody else as many as fit into T:

    steps_i = clip(⌊(T − c_i) / p_i⌋, 1, n_i)

A member whose step time is not known takes all its steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MemberWork:
    """One member. max_steps: the most it may take; transfer_s: both ways; step_s none: not known."""

    client: str
    max_steps: int
    transfer_s: float = 0.0
    step_s: float | None = None

    def seconds(self, steps: int) -> float | None:
        """Return how long so many steps take, transfer included; none: not known."""
        return None if self.step_s is None else self.transfer_s + steps * self.step_s

    def steps_within(self, seconds: float) -> int:
        """Return the steps that fit into a time, at least one."""
        if not self.step_s:
            return self.max_steps
        # A hair of slack: the fastest member's own steps must fit into its own time.
        fitting = (seconds - self.transfer_s) / self.step_s * (1 + 1e-9)
        # A client may claim times without end; NaN, of one less another, fits a single step too.
        return math.floor(min(self.max_steps, fitting)) if fitting > 1 else 1


def equal(cohort: Sequence[MemberWork]) -> dict[str, int]:
    """Everybody takes all the steps it may."""
    return {each.client: each.max_steps for each in cohort}


def balanced(cohort: Sequence[MemberWork]) -> dict[str, int]:
    """The cohort finishes together, as the fastest does with all its steps."""
    times = [time for each in cohort if (time := each.seconds(each.max_steps)) is not None]
    if not times:
        return equal(cohort)
    return {each.client: each.steps_within(min(times)) for each in cohort}
