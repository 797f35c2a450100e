"""What bounds one client's say in a round, before anything is aggregated.

A protection sees the cohort's shares (names, weights, lengths), never a tensor, so that one rule serves
deltas of factors and scalars of seeds alike. It may lower a share and never raise one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

FEWEST = 3
"""In a smaller cohort there is no majority that could say what is usual: nothing is bounded."""


@dataclass(frozen=True)
class Share:
    """One client's say. weight: its examples; reach: how far its update moves the model (a norm);
    factor: how many times its change counts, at most 1.
    """

    client: str
    weight: float
    reach: float = 0.0
    factor: float = 1.0


@dataclass(frozen=True)
class Protection:
    """limit(shares) → the shares of the same clients, none of them larger; reads_reach: whether it needs
    to know how far each update moves the model, which costs a pass over the updates.
    """

    limit: Callable[[Sequence[Share]], Sequence[Share]]
    reads_reach: bool = False


def protected(protections: Sequence[Protection], shares: Sequence[Share]) -> list[Share]:
    """Apply the protections from left to right. Below FEWEST shares, return them as they are."""
    limited = list(shares)
    if len(limited) < FEWEST:
        return limited
    for each in protections:
        limited = list(each.limit(limited))
    return limited


def held_back(before: Sequence[Share], after: Sequence[Share]) -> tuple[str, ...]:
    """Return the clients whose share was lowered, in the order given."""
    pairs = zip(before, after, strict=True)
    return tuple(
        was.client for was, is_ in pairs if is_.weight < was.weight or is_.factor < was.factor
    )


def usual(values: Sequence[float]) -> float:
    """Return the lower median: of an even number of values, a half that lies high moves it nowhere.

    A value that is not finite counts as the largest.
    """
    ordered = sorted(value if math.isfinite(value) else math.inf for value in values)
    return ordered[(len(ordered) - 1) // 2]
