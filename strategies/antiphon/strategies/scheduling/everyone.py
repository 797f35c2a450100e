"""Every client takes part in every round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antiphon.core.errors import ConfigError
from antiphon.strategies.scheduling.scheduler import Scheduler


def everyone() -> Scheduler:
    """Choose all clients, always.

    A cohort size below their number raises ConfigError: nobody is left out silently.
    """
    return Scheduler(_choose)


def _choose(clients: Sequence[str], size: int, rng: np.random.Generator) -> tuple[str, ...]:
    if size < len(clients):
        raise ConfigError(
            f"cohort.size is {size}, but the scheduler `all` takes all {len(clients)} clients: "
            "set cohort.scheduler to random, or leave cohort.size out"
        )
    return tuple(sorted(clients))
