"""Every client takes part in every round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antiphon.core.errors import ConfigError
from antiphon.strategies.scheduling.scheduler import Scheduler
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry


def everyone() -> Scheduler:
    """Choose all clients, always.

    A cohort size below their number raises ConfigError: nobody is left out silently.
    """
    return Scheduler(_choose, whole=True)


def _choose(
    candidates: Sequence[ClientTelemetry], size: int, run: RunTelemetry, rng: np.random.Generator
) -> tuple[str, ...]:
    if size < len(candidates):
        raise ConfigError(
            f"a cohort of {size}, but the scheduler `all` takes all {len(candidates)} clients: "
            "set cohort.scheduler to random, or leave the size out"
        )
    return tuple(sorted(each.client for each in candidates))
