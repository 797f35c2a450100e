"""Robust rules that need no more than the inner products of the clients' changes.

Krum, the geometric median, centred clipping and FLTrust all give Σ cᵢ·changeᵢ with coefficients that
depend on lengths and angles alone. So a rule here is a function (clients, weights, products) → c, the
changes are those of the products B·A (change.py), and the sum is taken by `product`: factors that only turn
neither hide an attack nor look like one. Of seed-scalars the changes are the points themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from antiphon.core.types import Float64Array, Matrix, Params
from antiphon.strategies.aggregation.change import change_products
from antiphon.strategies.aggregation.contribution import (
    Aggregated,
    Aggregation,
    Contribution,
    Weigh,
    shares,
)
from antiphon.strategies.aggregation.product import product


def reweighting(rule: Weigh) -> Aggregation:
    """Make the aggregation of a rule."""
    return Aggregation(partial(_aggregate, rule), weigh=rule)


def distances(products: Matrix) -> Matrix:
    """Return ‖changeᵢ − changeⱼ‖², (n, n), never below zero."""
    squares = np.diag(products)
    apart: Matrix = np.maximum(squares[:, None] + squares - 2 * products, 0.0)
    return apart


def distances_to(products: Matrix, coefficients: Float64Array) -> Float64Array:
    """Return ‖changeᵢ − Σ cⱼ·changeⱼ‖, (n,)."""
    along = products @ coefficients
    squares = np.diag(products) - 2 * along + coefficients @ along
    apart: Float64Array = np.sqrt(np.maximum(squares, 0.0))
    return apart


def _aggregate(
    rule: Weigh, start: Params, scale: float, contributions: Sequence[Contribution]
) -> Aggregated:
    ordered = shares(contributions)
    cohort = [each for _, each in ordered]
    weights = np.array([share for share, _ in ordered])
    products = change_products(start, cohort)
    coefficients = rule([each.client for each in cohort], weights, products)
    total = float(coefficients.sum())
    # c as a share of the sum, and the sum as a factor: what `product` gives then is Σ cᵢ·changeᵢ.
    counted = [
        replace(each, weight=float(c), factor=each.factor * total)
        for each, c in zip(cohort, coefficients, strict=True)
        if c > 0
    ]
    if not counted:
        return Aggregated(dict(start), 0.0)
    return product().aggregate(start, scale, counted)
