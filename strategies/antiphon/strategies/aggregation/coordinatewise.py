"""Rules that look at one number of all clients at a time (Yin et al., ICML 2018).

They act on the deltas of the factors, whose coordinates mean the same for all clients of a round: all have
started from the same factors. Of seed-scalars they do not: each client tries seeds of its own, most numbers
of each are zero, and the middle of the cohort is zero too. Weights do not count: each client is one voice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.adapter import Factors, factors_of
from antiphon.strategies.aggregation.change import factor_norms
from antiphon.strategies.aggregation.contribution import (
    Aggregated,
    Aggregation,
    Contribution,
    Middle,
    shares,
)
from antiphon.strategies.aggregation.each_module import for_each_module
from antiphon.strategies.aggregation.local import locals_of


def coordinatewise(rule: Middle) -> Aggregation:
    """Make the aggregation of a rule."""
    return Aggregation(partial(_aggregate, rule), factor_norms, middle=rule)


def _aggregate(
    rule: Middle, start: Params, scale: float, contributions: Sequence[Contribution]
) -> Aggregated:
    ordered = shares(contributions)

    def folded(module: str) -> dict[str, FloatArray]:
        return _folded(rule, start, scale, module, ordered).named(module)

    found = for_each_module(start, contributions, folded)
    params = {name: tensor for each in found for name, tensor in each.items()}
    return Aggregated(params, math.nan)


def _folded(
    rule: Middle,
    start: Params,
    scale: float,
    module: str,
    ordered: Sequence[tuple[float, Contribution]],
) -> Factors:
    reference = factors_of(start, module)
    clients = locals_of(module, start, reference, ordered)
    for each in clients:
        if each.start.r != reference.r or each.scale != scale:
            raise UpdateError(
                f"client {each.client} has rank {each.start.r} and the global adapter {reference.r}: a "
                "rule that looks at each number alone needs equal ranks. Use aggregation `multi_krum`, or "
                "leave lora.client_ranks out"
            )
    b = np.stack([each.factor * each.delta.b.astype(np.float64) for each in clients])
    a = np.stack([each.factor * each.delta.a.astype(np.float64) for each in clients])
    return Factors(reference.b + rule(np.sort(b, axis=0)), reference.a + rule(np.sort(a, axis=0)))
