"""FedIT (Zhang et al. 2024): average A and B apart. Wrong by the cross terms, which it reports.

With the clients' deviations from the mean factors, Bᵢ = B̄ + βᵢ and Aᵢ = Ā + αᵢ, the cross terms are
Σ pᵢBᵢAᵢ − B̄Ā = Σ pᵢβᵢαᵢ, exactly: their norm is computed without subtracting two large products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.adapter import Delta, Factors, factors_of
from antiphon.strategies.aggregation.change import factor_norms
from antiphon.strategies.aggregation.contribution import (
    Aggregated,
    Aggregation,
    Contribution,
    shares,
)
from antiphon.strategies.aggregation.each_module import for_each_module
from antiphon.strategies.aggregation.local import Local, locals_of, started_elsewhere
from antiphon.strategies.aggregation.low_rank import Product, inner_products, norm
from antiphon.strategies.aggregation.weighted_mean import weighted_mean


def factors(*, report_error: bool = True) -> Aggregation:
    """Mean of the factors; every client must have the global rank and scale.

    report_error: compute the norm of the cross terms, which costs more than the mean; else it is NaN.
    """
    return Aggregation(partial(_aggregate, report_error), reach=factor_norms, equal_ranks=True)


@dataclass(frozen=True)
class _Mean:
    """One module's new tensors; the Frobenius norms of ΔW* and of the cross terms."""

    named: dict[str, FloatArray]
    missed: float = 0.0
    whole: float = 0.0


def _aggregate(
    report_error: bool, start: Params, scale: float, contributions: Sequence[Contribution]
) -> Aggregated:
    ordered = shares(contributions)
    found = for_each_module(
        start, contributions, lambda module: _mean(report_error, start, scale, module, ordered)
    )
    params = {name: tensor for each in found for name, tensor in each.named.items()}
    missed = math.hypot(*(each.missed for each in found))
    whole = math.hypot(*(each.whole for each in found))
    error = missed / whole if whole else 0.0
    return Aggregated(params, error if report_error else math.nan)


def _mean(
    report_error: bool,
    start: Params,
    scale: float,
    module: str,
    ordered: Sequence[tuple[float, Contribution]],
) -> _Mean:
    reference = factors_of(start, module)
    clients = [_in_part(each) for each in locals_of(module, start, reference, ordered)]
    _check(clients, reference, scale)
    mean = _mean_factors(clients)
    if not report_error or not any(each.moved for each in clients):
        return _Mean(mean.named(module))
    elsewhere = started_elsewhere(reference, scale, clients)
    # ΔW* = s·B̄Ā + s·Σ pᵢβᵢαᵢ + what clients did not start from; the first r terms are not missed.
    terms = [Product(scale, mean), *_deviations(clients, mean), *elsewhere]
    inner = inner_products(terms)
    return _Mean(mean.named(module), norm(inner[mean.r :, mean.r :]), norm(inner))


def _in_part(client: Local) -> Local:
    """Return the client with its factors moved as far as its change counts."""
    if client.factor == 1.0:
        return client
    part = np.float32(client.factor)
    return replace(client, delta=Delta(client.delta.b * part, client.delta.a * part), factor=1.0)


def _mean_factors(clients: Sequence[Local]) -> Factors:
    """Return Σ pᵢ(startᵢ + δᵢ); what several clients started from counts once, with all their shares."""
    starts = {id(each.start): each.start for each in clients}
    shares_of: dict[int, float] = dict.fromkeys(starts, 0.0)
    for each in clients:
        shares_of[id(each.start)] += each.share
    terms: list[tuple[float, Factors | Delta]] = [
        *((shares_of[key], start) for key, start in starts.items()),
        *((each.share, each.delta) for each in clients),
    ]
    return Factors(
        weighted_mean((share, each.b) for share, each in terms),
        weighted_mean((share, each.a) for share, each in terms),
    )


def _deviations(clients: Sequence[Local], mean: Factors) -> list[Product]:
    starts = {id(each.start): each.start for each in clients}
    gaps = {key: Factors(start.b - mean.b, start.a - mean.a) for key, start in starts.items()}
    return [Product(each.share * each.scale, gaps[id(each.start)], each.delta) for each in clients]


def _check(clients: Sequence[Local], reference: Factors, scale: float) -> None:
    for each in clients:
        if each.start.r != reference.r or each.scale != scale:
            raise UpdateError(
                f"aggregation `factors` averages equal ranks, but client {each.client} has rank "
                f"{each.start.r} (alpha / r = {each.scale:g}) and the global adapter "
                f"{reference.r} ({scale:g}): use aggregation `product`, or leave "
                "lora.client_ranks out"
            )
