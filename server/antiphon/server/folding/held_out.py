"""What clients say that they have measured of a model: checked one by one, then taken together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from antiphon.core.errors import UpdateError
from antiphon.core.events import Evaluated

METRICS = ("loss", "perplexity", "accuracy", "rouge_l", "exact_match")
"""What an evaluation measures."""
MOST_LOSS = 1e4
"""Nats per token; a loss that is larger, or no number, counts as this much: the model is broken."""
ENOUGH_FOR_MEDIAN = 3
"""Fewer reports than this have no majority that could outvote one liar."""
_MOST_EXAMPLES = 2**31
_MOST_EXPONENT = 700.0


def read_measurement(
    number: int, client: str, examples: int, metrics: Mapping[str, float]
) -> Evaluated:
    """Return what a client has measured of the model after round `number`, as far as it can be true.

    A metric that is NaN was not measured, but a loss that is NaN, infinite or above MOST_LOSS counts as
    MOST_LOSS; the perplexity follows from the loss, whatever was said. Raises UpdateError for an unknown
    metric, a loss below zero, and a share outside [0, 1].
    """
    unknown = sorted(set(metrics) - set(METRICS))
    if unknown:
        raise UpdateError(f"metrics {str(unknown)[:80]}, expected some of {', '.join(METRICS)}")
    if not 0 <= examples <= _MOST_EXAMPLES:
        raise UpdateError(f"{examples} held-out examples, expected at most {_MOST_EXAMPLES}")
    loss = _loss(metrics)
    return Evaluated(
        round=number,
        client=client,
        examples=examples,
        loss=loss,
        accuracy=_share(metrics, "accuracy"),
        perplexity=None if loss is None else math.exp(min(loss, _MOST_EXPONENT)),
        rouge_l=_share(metrics, "rouge_l"),
        exact_match=_share(metrics, "exact_match"),
    )


def median_loss(measured: Sequence[Evaluated]) -> float | None:
    """Return the loss by which a run is steered: a median, so that no minority moves it far.

    One that says a broken model (MOST_LOSS) is infinite. Below ENOUGH_FOR_MEDIAN reports it is the lowest,
    so that one client of two cannot undo a round. None: nobody has measured it.
    """
    losses = sorted(
        each.loss if each.loss < MOST_LOSS else math.inf
        for each in measured
        if each.loss is not None
    )
    if not losses:
        return None
    return statistics.median(losses) if len(losses) >= ENOUGH_FOR_MEDIAN else losses[0]


def means(measured: Sequence[Evaluated]) -> Mapping[str, float]:
    """Return the unweighted means over the clients, of what was measured."""
    return {
        metric: sum(values) / len(values)
        for metric in METRICS
        if (values := [v for each in measured if (v := getattr(each, metric)) is not None])
    }


def _loss(metrics: Mapping[str, float]) -> float | None:
    loss = metrics.get("loss")
    if loss is None:
        return None
    if loss < 0:
        raise UpdateError(f"a loss of {loss:g} nats per token, expected at least 0")
    return loss if loss < MOST_LOSS else MOST_LOSS  # NaN is not below anything


def _share(metrics: Mapping[str, float], name: str) -> float | None:
    value = metrics.get(name)
    if value is None or math.isnan(value):
        return None
    if not 0 <= value <= 1:
        raise UpdateError(f"{name} {value:g}, expected a share between 0 and 1")
    return value
