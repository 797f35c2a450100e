"""The usual learning-rate schedules, as numbers of the step."""

from __future__ import annotations

import math


def rate(kind: str, peak: float, step: int, total: int, warmup: int = 0) -> float:
    """Return the rate of `step` (from 0) of `total`: linear warm-up, then `kind`.

    kind: `constant`, `linear` (to zero at the end) or `cosine` (half a period, to zero).
    """
    if step < warmup:
        return peak * ((step + 1) / warmup)  # a share of the peak: never above it by a rounding
    done = (step - warmup) / max(1, total - warmup)
    if kind == "linear":
        return peak * (1 - done)
    if kind == "cosine":
        return peak * (1 + math.cos(math.pi * done)) / 2
    return peak
