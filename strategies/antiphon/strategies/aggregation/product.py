"""Aggregate LoRA as a product: the rank-r factors nearest to the clients' mean ΔW.

Target: ΔW* = s_g·B_gA_g + Σ pᵢ(sᵢ·BᵢAᵢ − sᵢ·Bᵢ⁰Aᵢ⁰), where (Bᵢ⁰, Aᵢ⁰) is what client i started
from and pᵢ its share of the weight times its factor. A client that started from the global factors
contributes pᵢsᵢBᵢAᵢ, and its share of the global product cancels; one of smaller rank started from a
truncation, and what it never saw stays in the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.adapter import A_SUFFIX, Factors, factors_of
from antiphon.strategies.aggregation.alignment import align
from antiphon.strategies.aggregation.contribution import (
    NOTHING_CARRIED,
    Aggregated,
    Aggregation,
    Carried,
    Contribution,
    shares,
)
from antiphon.strategies.aggregation.each_module import for_each_module
from antiphon.strategies.aggregation.local import locals_of, started_elsewhere
from antiphon.strategies.aggregation.low_rank import Product, spectrum, truncate


def product() -> Aggregation:
    """Truncated SVD of ΔW* through the small core, for mixed ranks and scales too."""
    return Aggregation(_aggregate, carrying=True)


@dataclass(frozen=True)
class _Nearest:
    """One module's new tensors; the Frobenius norms of ΔW* and of what was dropped of it; the next
    components as factors, where somebody carries them on.
    """

    named: dict[str, FloatArray]
    dropped: float = 0.0
    whole: float = 0.0
    left_out: dict[str, FloatArray] = field(default_factory=dict)


def _aggregate(
    start: Params,
    scale: float,
    contributions: Sequence[Contribution],
    carried: Carried = NOTHING_CARRIED,
) -> Aggregated:
    ordered = shares(contributions)
    found = for_each_module(
        start, contributions, lambda module: _nearest(start, scale, module, ordered, carried)
    )
    params = {name: tensor for each in found for name, tensor in each.named.items()}
    dropped = math.hypot(*(each.dropped for each in found))
    whole = math.hypot(*(each.whole for each in found))
    left_out = {name: tensor for each in found for name, tensor in each.left_out.items()}
    return Aggregated(params, dropped / whole if whole else 0.0, left_out)


def _nearest(
    start: Params,
    scale: float,
    module: str,
    ordered: Sequence[tuple[float, Contribution]],
    carried: Carried,
) -> _Nearest:
    reference = factors_of(start, module)
    waiting = _waiting(carried, module)
    terms = _target(start, reference, scale, module, ordered)
    if terms is None:
        return _Nearest(reference.named(module), left_out=waiting.named(module) if waiting else {})
    if waiting is not None:
        terms.append(Product(1.0, waiting))
    r = reference.r
    whole = spectrum(terms, r + carried.rank)
    nearest = truncate(whole, r, scale, spare=reference.a)
    named = align(nearest, reference).named(module)
    rest = whole.between(r, r + carried.rank).named(module) if carried.rank else {}
    return _Nearest(named, whole.dropped(r), whole.norm, rest)


def _waiting(carried: Carried, module: str) -> Factors | None:
    """Return what was carried on of one module, to be added to the sum."""
    known = module + A_SUFFIX in carried.factors
    return factors_of(carried.factors, module) if known else None


def _target(
    start: Params,
    reference: Factors,
    scale: float,
    module: str,
    ordered: Sequence[tuple[float, Contribution]],
) -> list[Product] | None:
    """Return one module's ΔW* as a sum of products, or None where no client moved it."""
    clients = locals_of(module, start, reference, ordered)
    if not any(each.moved for each in clients):
        return None
    terms = [Product(each.part * each.scale, each.start, each.delta) for each in clients]
    return terms + started_elsewhere(reference, scale, clients)
