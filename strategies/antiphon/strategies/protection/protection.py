"""What bounds one client's say in a round, before anything is aggregated.

A protection sees the cohort's shares (names, weights, lengths, agreement), never a tensor, so that one rule
serves deltas of factors and scalars of seeds alike. It may lower a share and never raise one. What is usual
comes from the cohort itself; a cohort too small to say is held against the last one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from antiphon.core.types import State
from antiphon.strategies.aggregation.contribution import Contribution, Tensors
from antiphon.strategies.fold import Context, Seen, Stage, params_of
from antiphon.strategies.protection.agreement import UNKNOWN, Agreement
from antiphon.strategies.state import under

FEWEST = 3
"""In a smaller cohort there is no majority that could say what is usual."""
_REMEMBERED = "protection"


@dataclass(frozen=True)
class Share:
    """One client's say. weight: its examples; reach: how far its update moves the model (a norm);
    factor: how many times its change counts, at most 1; agreement: how far it points where the others do.
    """

    client: str
    weight: float
    reach: float = 0.0
    factor: float = 1.0
    agreement: Agreement = UNKNOWN


@dataclass(frozen=True)
class Usual:
    """A cohort's lower medians of weight and reach; infinite where nobody could say."""

    weight: float = math.inf
    reach: float = math.inf


@dataclass(frozen=True)
class Protection:
    """limit(shares, usual) → the shares of the same clients, none of them larger; reads_reach: whether it
    needs to know how far each update moves the model, which costs a pass over the updates; reads_agreement:
    whether it needs every update compared with every other.
    """

    limit: Callable[[Sequence[Share], Usual], Sequence[Share]]
    reads_reach: bool = False
    reads_agreement: bool = False


@dataclass(frozen=True)
class Protected:
    """Shares as far as they count. held_back: clients whose share was lowered; usual: what they were held
    against.
    """

    shares: tuple[Share, ...]
    held_back: tuple[str, ...]
    usual: Usual


def protected(
    protections: Sequence[Protection], shares: Sequence[Share], before: Usual
) -> Protected:
    """Apply the protections from left to right. before: the usual of an earlier cohort."""
    if not protections:
        return Protected(tuple(shares), (), Usual())
    usual = usual_of(shares) if len(shares) >= FEWEST else before
    limited = tuple(shares)
    for each in protections:
        limited = tuple(each.limit(limited, usual))
    pairs = zip(shares, limited, strict=True)
    lowered = (
        was.client for was, is_ in pairs if is_.weight < was.weight or is_.factor < was.factor
    )
    return Protected(limited, tuple(lowered), usual)


def usual_of(shares: Sequence[Share]) -> Usual:
    """Return a cohort's lower medians: a half that claims much moves them nowhere.

    Who sends nothing says nothing of how far an update usually goes.
    """
    moving = [each.reach for each in shares if each.reach != 0]
    return Usual(_lower_median([each.weight for each in shares]), _lower_median(moving))


@dataclass(frozen=True)
class Geometry:
    """How far and where contributions point in a space; both from (global parameters, contributions)."""

    reach: Callable[[Tensors, Sequence[Contribution]], Sequence[float]]
    agreement: Callable[[Tensors, Sequence[Contribution]], Sequence[Agreement]]


def protecting(protections: Sequence[Protection], geometry: Geometry) -> Stage:
    """Return the stage that lets contributions count as far as the protections allow."""

    def each(state: State, contributions: Sequence[Contribution], context: Context) -> Seen:
        start = params_of(state)
        reach: Sequence[float] = [0.0] * len(contributions)
        if any(each.reads_reach for each in protections):
            reach = geometry.reach(start, contributions)
        compared: Sequence[Agreement] = [UNKNOWN] * len(contributions)
        if any(each.reads_agreement for each in protections):
            compared = geometry.agreement(start, contributions)
        asked = [
            Share(each.client, each.weight, how_far, agreement=found)
            for each, how_far, found in zip(contributions, reach, compared, strict=True)
        ]
        limited = protected(protections, asked, remembered(state))
        counted = [
            replace(each, weight=share.weight, factor=share.factor)
            for each, share in zip(contributions, limited.shares, strict=True)
        ]
        return Seen(counted, memory(limited.usual), held_back=limited.held_back)

    return Stage(_REMEMBERED, each=each)


def remembered(state: State) -> Usual:
    """Return what a method's state says was usual; infinite before the first cohort that could say."""
    return Usual(**{name: float(value.item()) for name, value in under(_REMEMBERED, state).items()})


def memory(usual: Usual) -> State:
    """Return what the stage keeps for the next round."""
    known = {name: value for name, value in asdict(usual).items() if math.isfinite(value)}
    return {name: np.array([value]) for name, value in known.items()}


def _lower_median(values: Sequence[float]) -> float:
    # What is no number counts as the largest.
    ordered = sorted(value if math.isfinite(value) else math.inf for value in values)
    return ordered[(len(ordered) - 1) // 2] if ordered else math.inf
