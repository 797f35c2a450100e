"""How far an update points where the others' do, for those who hold back what points the other way.

Honest clients walk down one loss, an update that harms goes up. Of seed-scalars two updates can be compared
only along seeds that both have tried (`seeds.overlap`); what chance alone would make of that is the doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.core.types import Matrix

_MOST_OF_A_PAIR = 2.0
"""Times the usual pair that one pair counts at most, so that two who agree on purpose gain little."""


@dataclass(frozen=True)
class Agreement:
    """value: the sum of the cosines with the other updates, each bounded; doubt: the standard deviation
    that it would have if every number had a random sign.
    """

    value: float = 0.0
    doubt: float = 0.0


UNKNOWN = Agreement()
"""Of an update that has nothing in common with any other."""


def agreements(points: Matrix) -> list[Agreement]:
    """Return the agreement of each of n updates, points (n, K); of one that is zero: unknown.

    Who stands clearly against the others has no word in what the others are held against.
    """
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    known = np.isfinite(lengths) & (lengths > 0)
    units = np.where(known, points / np.where(known, lengths, 1.0), 0.0)
    cosines, chance = _others(units @ units.T), _others(units**2 @ (units**2).T)
    most = _most(cosines)
    bounded, chance = np.clip(cosines, -most, most), np.minimum(chance, most**2)
    doubts = np.sqrt(chance.sum(axis=1))
    trusted = bounded.sum(axis=1) > -doubts
    values, doubts = bounded @ trusted, np.sqrt(chance @ trusted)
    return [Agreement(float(v), float(d)) for v, d in zip(values, doubts, strict=True)]


def agreements_of_products(products: Matrix) -> list[Agreement]:
    """As `agreements`, from ⟨changeᵢ, changeⱼ⟩ (n, n): updates that all move the same numbers."""
    lengths = np.sqrt(np.maximum(np.diag(products), 0.0))
    outer = lengths[:, None] * lengths
    cosines = _others(np.where(outer > 0, products / np.where(outer > 0, outer, 1.0), 0.0))
    most = _most(cosines)
    bounded = np.clip(cosines, -most, most)
    trusted = bounded.sum(axis=1) >= 0
    return [Agreement(float(value)) for value in bounded @ trusted]


def usual_agreement(found: Sequence[Agreement]) -> float:
    """Return the lower median of the values."""
    ordered = sorted(each.value for each in found)
    return ordered[(len(ordered) - 1) // 2] if ordered else 0.0


def _most(cosines: Matrix) -> float:
    """Return what one pair counts at most."""
    apart = np.abs(cosines[cosines != 0])
    return _MOST_OF_A_PAIR * float(np.median(apart)) if len(apart) else 0.0


def _others(products: Matrix) -> Matrix:
    alone: Matrix = products - np.diag(np.diag(products))
    return alone
