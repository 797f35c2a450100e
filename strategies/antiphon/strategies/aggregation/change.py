"""How far contributions move the model: lengths and angles of what their products change.

A client's change of one module is s·((B⁰ + β)(A⁰ + α) − B⁰A⁰) = s·[B⁰ | β]·[α ; A⁰ + α], a product of
rank 2r whose terms do not cancel. Inner products of such changes are sums over small Gram matrices, as in
low_rank.py. Which factors a client chose for its product makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.core.types import Matrix, Params
from antiphon.strategies.aggregation.adapter import Factors, delta_of, factors_of
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.aggregation.each_module import for_each_module


@dataclass(frozen=True)
class _Change:
    """scale · (b·alpha + beta·moved): a start's b (d_out, r); a client's beta, its alpha (r, d_in), and
    moved = a + alpha. b_gram: bᵀb, computed once for all clients that started alike.
    """

    scale: float
    b: Matrix
    b_gram: Matrix
    beta: Matrix
    alpha: Matrix
    moved: Matrix


def change_norms(start: Params, contributions: Sequence[Contribution]) -> list[float]:
    """Return the Frobenius norm of each contribution's change over all modules, its factor included.

    One client's module is in memory at a time, on each core. Raises UpdateError where a delta has other
    shapes than its start.
    """

    def squares(module: str) -> list[float]:
        return [_square(each) for each in _changes(module, contributions)]

    found = for_each_module(start, contributions, squares)
    return [
        math.sqrt(max(0.0, math.fsum(module[at] for module in found)))
        for at in range(len(contributions))
    ]


def change_products(start: Params, contributions: Sequence[Contribution]) -> Matrix:
    """Return ⟨changeᵢ, changeⱼ⟩ over all modules, (n, n), factors included; n contributions."""

    def products(module: str) -> Matrix:
        changes = list(_changes(module, contributions))
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


def _changes(module: str, contributions: Sequence[Contribution]) -> Iterator[_Change]:
    """Yield each client's change of one module, one at a time."""
    starts: dict[int, tuple[Factors, Matrix]] = {}
    for each in contributions:
        if id(each.start) not in starts:
            read = factors_of(each.start, module)
            starts[id(each.start)] = read, read.b.T @ read.b
        start, gram = starts[id(each.start)]
        delta = delta_of(each.delta, module, start)
        beta, alpha = delta.b.astype(np.float64), delta.a.astype(np.float64)
        scale = each.scale * each.factor
        yield _Change(scale, start.b, gram, beta, alpha, start.a + alpha)


def _square(change: _Change) -> float:
    one = change
    both = np.vdot(one.b_gram, one.alpha @ one.alpha.T)
    both += 2 * np.vdot(one.b.T @ one.beta, one.alpha @ one.moved.T)
    both += np.vdot(one.beta.T @ one.beta, one.moved @ one.moved.T)
    return float(one.scale**2 * both)


def _inner(one: _Change, other: _Change) -> float:
    left = np.hstack([one.b, one.beta]).T @ np.hstack([other.b, other.beta])
    right = np.vstack([one.alpha, one.moved]) @ np.vstack([other.alpha, other.moved]).T
    return float(one.scale * other.scale * np.vdot(left, right))
