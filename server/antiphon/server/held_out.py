"""What clients have measured of a model, taken together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from antiphon.core.events import Evaluated

METRICS = ("loss", "perplexity", "accuracy", "rouge_l")
"""What an evaluation measures."""


def median_loss(measured: Sequence[Evaluated]) -> float | None:
    """Return the median of the clients' losses, NaN counting as infinite; none: nobody has measured it."""
    losses = [
        math.inf if math.isnan(each.loss) else each.loss
        for each in measured
        if each.loss is not None
    ]
    return statistics.median(losses) if losses else None


def means(measured: Sequence[Evaluated]) -> Mapping[str, float]:
    """Return the unweighted means over the clients, of what was measured."""
    return {
        metric: sum(values) / len(values)
        for metric in METRICS
        if (values := [v for each in measured if (v := getattr(each, metric)) is not None])
    }
