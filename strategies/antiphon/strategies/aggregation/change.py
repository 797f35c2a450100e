"""How far contributions move the model: lengths and angles of what their products change.

A client's change of one module is s·((B⁰ + β)(A⁰ + α) − B⁰A⁰) = s·[B⁰ | β]·[α ; A⁰ + α], a product of
rank 2r whose terms do not cancel. Inner products of such changes are sums over small Gram matrices, as in
low_rank.py. Which factors a client chose for its product makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.core.types import Params
from antiphon.strategies.aggregation.adapter import Matrix, delta_of, factors_of
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.aggregation.each_module import for_each_module


@dataclass(frozen=True)
class _Change:
    """scale · left · right; left (d_out, 2r), right (2r, d_in)."""

    scale: float
    left: Matrix
    right: Matrix


def change_norms(start: Params, contributions: Sequence[Contribution]) -> list[float]:
    """Return the Frobenius norm of each contribution's change over all modules, its factor included.

    One client's module is in memory at a time, on each core. Raises UpdateError where a delta has other
    shapes than its start.
    """

    def squares(module: str) -> list[float]:
        return [_square(_change_of(module, each)) for each in contributions]

    found = for_each_module(start, contributions, squares)
    return [
        math.sqrt(max(0.0, math.fsum(module[at] for module in found)))
        for at in range(len(contributions))
    ]


def change_products(start: Params, contributions: Sequence[Contribution]) -> Matrix:
    """Return ⟨changeᵢ, changeⱼ⟩ over all modules, (n, n), factors included; n contributions."""

    def products(module: str) -> Matrix:
        changes = [_change_of(module, each) for each in contributions]
        gram = np.empty((len(changes), len(changes)))
        for i, one in enumerate(changes):
            for j, other in enumerate(changes[: i + 1]):
                gram[i, j] = gram[j, i] = _inner(one, other)
        return gram

    found = for_each_module(start, contributions, products)
    return np.sum(found, axis=0) if found else np.zeros((len(contributions),) * 2)


def factor_norms(start: Params, contributions: Sequence[Contribution]) -> list[float]:
    """Return the norm of each contribution's delta of the factors themselves, its factor included.

    For rules that average factors: factors that only turn leave the product alone and move such a mean.
    """
    return [
        each.factor
        * math.sqrt(
            math.fsum(
                float(np.sum(np.square(each.delta[name], dtype=np.float64)))
                for name in sorted(each.delta)
            )
        )
        for each in contributions
    ]


def _change_of(module: str, contribution: Contribution) -> _Change:
    start = factors_of(contribution.start, module)
    delta = delta_of(contribution.delta, module, start)
    left = np.hstack([start.b, delta.b])
    right = np.vstack([delta.a, start.a + delta.a])
    return _Change(contribution.scale * contribution.factor, left, right)


def _square(change: _Change) -> float:
    return _inner(change, change)


def _inner(one: _Change, other: _Change) -> float:
    both = np.sum((one.left.T @ other.left) * (one.right @ other.right.T))
    return float(one.scale * other.scale * both)
