"""A cohort drawn uniformly without replacement, as in FedAvg (McMahan et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antiphon.strategies.scheduling.scheduler import Scheduler
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry


def uniform() -> Scheduler:
    """Choose `size` clients with equal chances; all of them where there are no more than that."""
    return Scheduler(_choose)


def _choose(
    candidates: Sequence[ClientTelemetry], size: int, run: RunTelemetry, rng: np.random.Generator
) -> tuple[str, ...]:
    names = sorted(each.client for each in candidates)
    if size >= len(names):
        return tuple(names)
    picked = rng.choice(len(names), size=size, replace=False)
    return tuple(names[i] for i in sorted(picked))
