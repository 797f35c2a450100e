"""What an update counts for that was computed from an older model than the one it is folded into.

Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation" (FedBuff), AISTATS 2022: an
update that τ folds have overtaken counts s(τ) = 1 / √(1 + τ) times. It is the polynomial discount
(1 + τ)^−a of FedAsync (Xie, Koyejo and Gupta, 2019) with a = ½.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from antiphon.core.errors import UpdateError
from antiphon.core.types import AnyArray, State
from antiphon.strategies.aggregation.contribution import Contribution, Tensors
from antiphon.strategies.by_name import ByName
from antiphon.strategies.fold import Context, Seen, Stage


def discount(staleness: int) -> float:
    """Return s(τ), in (0, 1] and exactly 1 for τ = 0. Raises UpdateError for τ < 0."""
    if staleness < 0:
        raise UpdateError(f"a staleness of {staleness}: an update cannot begin after its own fold")
    return 1 / math.sqrt(1 + staleness)


def discounted(delta: Tensors, staleness: int) -> Tensors:
    """Return s(τ)·delta, read tensor by tensor; for τ = 0 the delta itself, bit for bit."""
    if not staleness:
        return delta
    factor = discount(staleness)

    def counted(name: str) -> AnyArray:
        tensor = delta[name]
        scaled: AnyArray = tensor * tensor.dtype.type(factor)
        return scaled

    return ByName(delta, counted)


def staleness() -> Stage:
    """Return the stage that discounts what began before the round."""

    def each(state: State, contributions: Sequence[Contribution], context: Context) -> Seen:
        counted = [replace(c, delta=discounted(c.delta, c.staleness)) for c in contributions]
        return Seen(counted)

    return Stage("staleness", each=each)
