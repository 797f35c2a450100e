"""Aggregate LoRA as a product: the rank-r factors nearest to the clients' mean ΔW.

Target: ΔW* = s_g·B_gA_g + Σ pᵢ(sᵢ·BᵢAᵢ − sᵢ·Bᵢ⁰Aᵢ⁰), where (Bᵢ⁰, Aᵢ⁰) is what client i started
from. A client that started from the global factors contributes pᵢsᵢBᵢAᵢ, and its share of the
global product cancels; one of smaller rank started from a truncation, and what it never saw stays
in the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.adapter import Factors, factors_of, modules
from antiphon.strategies.aggregation.alignment import align
from antiphon.strategies.aggregation.contribution import (
    Aggregated,
    Aggregation,
    Contribution,
    shares,
)
from antiphon.strategies.aggregation.low_rank import Product, spectrum, truncate


def product() -> Aggregation:
    """Truncated SVD of ΔW* through the small core, for mixed ranks and scales too."""
    return Aggregation(_aggregate)


def _aggregate(start: Params, scale: float, contributions: Sequence[Contribution]) -> Aggregated:
    ordered = shares(contributions)
    params: dict[str, FloatArray] = {}
    dropped, whole = 0.0, 0.0
    for module in modules(start):
        reference = factors_of(start, module)
        terms = target(reference, scale, module, ordered)
        if terms is None:
            params |= reference.named(module)
            continue
        sum_of_terms = spectrum(terms)
        nearest = truncate(sum_of_terms, reference.r, scale, spare=reference.a)
        params |= align(nearest, reference).named(module)
        dropped = math.hypot(dropped, sum_of_terms.dropped(reference.r))
        whole = math.hypot(whole, sum_of_terms.norm)
    return Aggregated(params, dropped / whole if whole else 0.0)


def target(
    reference: Factors, scale: float, module: str, ordered: Sequence[tuple[float, Contribution]]
) -> list[Product] | None:
    """Return one module's ΔW* as a sum of products, or None where no client moved it.

    reference, scale: the global factors and their alpha / r; ordered: shares with contributions.
    """
    terms: list[Product] = []
    # One term for each distinct start, so that a fleet of one smaller rank costs one, not one each.
    starts: dict[int, Product] = {}
    elsewhere, moved = 0.0, False
    for share, each in ordered:
        begin, delta = factors_of(each.start, module), factors_of(each.delta, module)
        moved = moved or bool(delta.b.any() or delta.a.any())
        terms.append(Product(share * each.scale, begin.plus(delta)))
        if not (each.scale == scale and _same(begin, reference)):
            known = starts.get(id(each.start), Product(0.0, begin))
            starts[id(each.start)] = Product(known.scale - share * each.scale, begin)
            elsewhere += share
    if starts:
        terms += [*starts.values(), Product(elsewhere * scale, reference)]
    return terms if moved else None


def _same(one: Factors, other: Factors) -> bool:
    return np.array_equal(one.b, other.b) and np.array_equal(one.a, other.a)
