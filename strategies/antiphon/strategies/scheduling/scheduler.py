"""Who takes part in a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry

Choose = Callable[
    [Sequence[ClientTelemetry], int, RunTelemetry, np.random.Generator], tuple[str, ...]
]


@dataclass(frozen=True)
class Scheduler:
    """choose(candidates, size, run, rng) → the cohort, sorted; the order of candidates does not matter.

    It is pure: a policy may ask for cohorts of several sizes, and a resumed run asks again. run.round
    is the round that is planned. uses: the fields of ClientTelemetry that it reads; the plan keeps
    them. whole: it takes all candidates, and refuses a smaller size.
    """

    choose: Choose
    uses: tuple[str, ...] = ()
    whole: bool = False
