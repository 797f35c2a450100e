"""Who masks with whom: everybody in a small cohort, some in a large one (Bell et al., CCS 2020).

Among n members each has k neighbours and splits its secrets into k shares, t of which give them back.
Always 2t > k: a coordinator that tells some neighbours that a member is there and others that it is not
gets one secret of it at most, as long as fewer than 2t − k neighbours give it both.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_COMPLETE: Final = 64
_FAILS: Final = 2.0**-10
"""How often a round fails that has lost as many members as it may, for want of some member's shares."""

_TOLD: Final = 2.0**-40
"""How often some member has as many neighbours in league with the coordinator as it takes to unmask it."""

_IN_LEAGUE: Final = 0.05  # of all members


def neighbours(
    members: Sequence[str], degree: int | None, session: bytes
) -> dict[str, tuple[str, ...]]:
    """Return each member's neighbours, sorted: all others, or `degree` of them (even), the same both ways.

    session: from which the order follows in which members stand on a circle; each has the nearest ones on
    either side, so that the graph hangs together as long as no half of the degree drops out in a row.
    """
    if degree is None or degree >= len(members) - 1:
        every = sorted(members)
        return {each: tuple(other for other in every if other != each) for each in every}
    around = sorted(members, key=lambda each: hashlib.sha256(session + each.encode()).digest())
    size, half = len(around), degree // 2
    return {
        each: tuple(
            sorted(
                around[(at + side * step) % size] for step in range(1, half + 1) for side in (1, -1)
            )
        )
        for at, each in enumerate(around)
    }


@lru_cache(maxsize=64)
def degree_for(size: int, threshold: float) -> int | None:
    """Return how many neighbours each of `size` members has; none: all others, up to 64 members.

    The least even number with which a round that loses 1 − threshold of its members fails once in a
    thousand for want of shares, and one in twenty members in league with the coordinator give it some
    member's secret once in 2^40; union bounds over members of the hypergeometric tails.
    """
    if size <= _COMPLETE:
        return None
    survivors, in_league = math.ceil(threshold * size), math.ceil(_IN_LEAGUE * size)
    for degree in range(2, size - 1, 2):
        needed = shares_needed(degree, threshold, complete=False)
        lost = size * _below(size - 1, survivors - 1, degree, needed)
        told = size * (1 - _below(size - 1, in_league, degree, needed))
        if lost < _FAILS and told < _TOLD:
            return degree
    return None


def shares_needed(degree: int, threshold: float, *, complete: bool = True) -> int:
    """Return t, of so many neighbours. complete: they are all the others: as many as must survive with one.

    In a sparse graph more than half of them: chance may take more of a member's neighbours than of all.
    """
    half = degree // 2 + 1
    if not complete:
        return half
    return min(degree, max(half, math.ceil(threshold * (degree + 1) - 1e-9) - 1))


def _below(size: int, marked: int, drawn: int, least: int) -> float:
    """Return the chance of fewer than `least` marked ones among `drawn` of `size`."""
    first = max(0, drawn - (size - marked))
    every = _choose(size, drawn)
    return math.fsum(
        math.exp(_choose(marked, each) + _choose(size - marked, drawn - each) - every)
        for each in range(first, min(least, marked + 1, drawn + 1))
    )


def _choose(size: int, drawn: int) -> float:
    """Return the logarithm of a binomial coefficient."""
    return math.lgamma(size + 1) - math.lgamma(drawn + 1) - math.lgamma(size - drawn + 1)
