"""What a client counts for that does not say how many examples it holds."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median_low


def usual_examples(told: Iterable[int]) -> int:
    """Return the median of what the clients of a fold tell (0: nothing); 1 where none does, so that all
    weigh alike.
    """
    return median_low([each for each in told if each > 0] or [1])
