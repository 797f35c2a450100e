"""When a simulated client is on line: an alternating renewal process, as a pure function of time.

Times on line and off line are exponential; with a share a of the time on line and a mean of μ seconds on
line, the mean off line is μ (1 − a) / a. The process begins in its stationary state, which for
exponential times needs no correction: on with probability a, and what is left of the first time is
exponential too. Duration k of a client follows from (seed, client, k) alone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

from antiphon.simulation.chance import uniform


class Availability(Protocol):
    """One client's times on and off line, from 0 on."""

    def is_on(self, when: float) -> bool:
        """Whether the client is on line at a moment (virtual seconds)."""
        ...

    def next_change(self, when: float) -> float | None:
        """Return the first moment after `when` at which the client comes or goes; none: it never does."""
        ...


class Drawn:
    """Times that are drawn. It remembers the changes that it was asked past."""

    def __init__(self, seed: int, client: str, share: float, mean_on_s: float) -> None:
        """share: of the time on line, in (0, 1)."""
        self._seed, self._client = seed, client
        self._starts_on = uniform(seed, client, "on line at 0", 0) < share
        self._mean_s = {True: mean_on_s, False: mean_on_s * (1 - share) / share}
        self._changes: list[float] = []

    def is_on(self, when: float) -> bool:
        """Whether the client is on line at a moment (virtual seconds)."""
        self._extend_past(when)
        return self._after(bisect_right(self._changes, when))

    def next_change(self, when: float) -> float:
        """Return the first moment after `when` at which the client comes or goes."""
        self._extend_past(when)
        return self._changes[bisect_right(self._changes, when)]

    def _after(self, changes: int) -> bool:
        return self._starts_on == (changes % 2 == 0)

    def _extend_past(self, when: float) -> None:
        while not self._changes or self._changes[-1] <= when:
            index = len(self._changes)
            last = self._changes[-1] if self._changes else 0.0
            drawn = -math.log(uniform(self._seed, self._client, "time on or off line", index))
            self._changes.append(last + drawn * self._mean_s[self._after(index)])


class Replayed:
    """Times that were recorded, over and over again."""

    def __init__(self, online: Sequence[tuple[float, float]], period_s: float) -> None:
        """online: when it is on line within a period, rising and apart, none empty, seconds."""
        self._period_s = period_s
        starts, ends = {start for start, _ in online}, {end for _, end in online}
        self._stays = 0 in starts and period_s in ends  # from one period to the next
        if self._stays:
            starts, ends = starts - {0}, ends - {period_s}
        self._changes = sorted(starts | ends)

    def is_on(self, when: float) -> bool:
        """Whether the client is on line at a moment (virtual seconds)."""
        return self._stays == (self._passed(when) % 2 == 0)

    def next_change(self, when: float) -> float | None:
        """Return the first moment after `when` at which the client comes or goes; none: it never does."""
        return self._change(self._passed(when)) if self._changes else None

    def _change(self, number: int) -> float:
        periods, at = divmod(number, len(self._changes))
        return periods * self._period_s + self._changes[at]

    def _passed(self, when: float) -> int:
        """Return how many changes there have been, by the very moments that `next_change` says."""
        if not self._changes:
            return 0
        number = int(when // self._period_s) * len(self._changes)
        while number > 0 and self._change(number - 1) > when:
            number -= 1
        while self._change(number) <= when:
            number += 1
        return number
