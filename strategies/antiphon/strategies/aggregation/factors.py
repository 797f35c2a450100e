"""FedIT (Zhang et al. 2024): average A and B apart. Wrong by the cross terms, which it reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.adapter import Factors, factors_of, modules
from antiphon.strategies.aggregation.contribution import (
    Aggregated,
    Aggregation,
    Contribution,
    shares,
)
from antiphon.strategies.aggregation.low_rank import Product, norm
from antiphon.strategies.aggregation.product import target
from antiphon.strategies.aggregation.weighted_mean import weighted_mean


def factors() -> Aggregation:
    """Mean of the factors; every client must have the global rank and scale."""
    return Aggregation(_aggregate)


def _aggregate(start: Params, scale: float, contributions: Sequence[Contribution]) -> Aggregated:
    ordered = shares(contributions)
    params: dict[str, FloatArray] = {}
    missed, whole = 0.0, 0.0
    for module in modules(start):
        reference = factors_of(start, module)
        local = [(share, _local(each, module, reference, scale)) for share, each in ordered]
        mean = Factors(
            weighted_mean((share, each.b) for share, each in local),
            weighted_mean((share, each.a) for share, each in local),
        )
        params |= mean.named(module)
        terms = target(reference, scale, module, ordered)
        if terms is not None:
            missed = math.hypot(missed, norm([*terms, Product(-scale, mean)]))
            whole = math.hypot(whole, norm(terms))
    return Aggregated(params, missed / whole if whole else 0.0)


def _local(each: Contribution, module: str, reference: Factors, scale: float) -> Factors:
    begin = factors_of(each.start, module)
    if begin.r != reference.r or each.scale != scale:
        raise UpdateError(
            f"aggregation `factors` averages equal ranks, but client {each.client} has rank "
            f"{begin.r} (alpha / r = {each.scale:g}) and the global adapter "
            f"{reference.r} ({scale:g}): use aggregation `product`, or leave lora.client_ranks out"
        )
    return begin.plus(factors_of(each.delta, module))
