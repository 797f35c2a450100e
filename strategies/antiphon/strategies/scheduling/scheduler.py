"""Who takes part in a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scheduler:
    """choose(clients, size, rng) → the cohort, sorted; the order of `clients` does not matter."""

    choose: Callable[[Sequence[str], int, np.random.Generator], tuple[str, ...]]
