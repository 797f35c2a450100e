"""One module of every client: where it started, and how far it moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.core.types import Params
from antiphon.strategies.aggregation.adapter import Delta, Factors, delta_of, factors_of
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.aggregation.low_rank import Product


@dataclass(frozen=True)
class Local:
    """One client's factors start + delta, whose product counts `scale` times; share: of the weight.

    factor: how many times its change counts; start: in float64, the same object for all clients that
    started alike; delta: as received.
    """

    client: str
    share: float
    scale: float
    start: Factors
    delta: Delta
    factor: float = 1.0

    @property
    def part(self) -> float:
        """What its change counts in the aggregate: its share, as far as that counts."""
        return self.share * self.factor

    @property
    def moved(self) -> bool:
        """Whether the client moved the module at all."""
        return bool(self.delta.b.any() or self.delta.a.any())


def locals_of(
    module: str,
    start: Params,
    reference: Factors,
    ordered: Sequence[tuple[float, Contribution]],
) -> list[Local]:
    """Read one module of every client; its start is `reference` itself where the two are equal.

    start, reference: the global factors, of all modules and of this one. Raises UpdateError where a
    delta has other shapes than what its client started from.
    """
    starts = {id(start): reference}
    found = []
    for share, each in ordered:
        key = id(each.start)
        if key not in starts:
            starts[key] = _start_of(each.start, module, reference)
        delta = delta_of(each.delta, module, starts[key])
        found.append(Local(each.client, share, each.scale, starts[key], delta, each.factor))
    return found


def started_elsewhere(reference: Factors, scale: float, clients: Sequence[Local]) -> list[Product]:
    """Return s·B_gA_g − Σ pᵢsᵢ·Bᵢ⁰Aᵢ⁰: what clients did not start from stays in the model.

    pᵢ: the parts; reference, scale: the global factors and their alpha / r. One term for each distinct
    start, so that a fleet of one smaller rank costs one, not one each; none where all started from
    `reference` and count in full.
    """
    starts: dict[int, Product] = {}
    elsewhere = 0.0
    for each in clients:
        elsewhere += each.share - each.part
        if each.scale == scale and each.start is reference:
            continue
        known = starts.get(id(each.start), Product(0.0, each.start))
        starts[id(each.start)] = Product(known.scale - each.part * each.scale, each.start)
        elsewhere += each.part
    return [*starts.values(), Product(elsewhere * scale, reference)] if elsewhere else []


def _start_of(params: Params, module: str, reference: Factors) -> Factors:
    start = factors_of(params, module)
    same = np.array_equal(start.b, reference.b) and np.array_equal(start.a, reference.a)
    return reference if same else start
