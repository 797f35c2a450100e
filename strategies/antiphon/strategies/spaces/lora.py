"""Space `lora`: the factors A and B of an adapter (Hu et al., ICLR 2022, arXiv 2106.09685).

The mean of A times the mean of B is not the mean of B·A, so that updates are folded by an aggregation of
products. Every rank shares `lora_alpha`, as PEFT does: a client of rank r′ counts its product alpha / r′
times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.tensors import check_against
from antiphon.core.types import FloatArray, Package, Params, State
from antiphon.strategies.aggregation.change import change_norms, change_products
from antiphon.strategies.aggregation.contribution import (
    Aggregation,
    Carried,
    Contribution,
    Reduced,
    Tensors,
)
from antiphon.strategies.aggregation.restrict import restrict
from antiphon.strategies.fold import Context, params_of
from antiphon.strategies.forms.walk import Walked
from antiphon.strategies.initial_factors import initial_factors
from antiphon.strategies.protection.agreement import Agreement, agreements_of_products
from antiphon.strategies.protection.protection import Geometry
from antiphon.strategies.seed_space import directions_of, walked_tensors
from antiphon.strategies.spaces.space import Space, Started

_KIND = "lora"


def lora(*, config: RunConfig) -> Space:
    """The factors A and B of an adapter; its keys are those of `lora`."""
    chosen = config.aggregation
    return factors(
        registry.build("aggregation", chosen.kind, chosen.arguments),
        alpha=config.lora.lora_alpha,
        r=config.lora.r,
        max_norm=config.training.max_update_norm,
        walked=walked_tensors(directions_of(config), config.seeds.num_seeds),
        seed=config.seed,
    )


def factors(
    rule: Aggregation,
    *,
    alpha: float,
    r: int,
    walked: Walked,
    max_norm: float | None = None,
    seed: int = 0,
) -> Space:
    """Return the space. r: rank of the global adapter; max_norm: bound of an update's L2 norm; none: no
    bound; seed: of the factors before the first round.
    """

    def received(state: State, rank: int) -> dict[str, FloatArray]:
        return restrict(_factors(state), rank, scale=alpha / r, scale_at_r=alpha / rank)

    def started(state: State) -> Started:
        # Whoever has the global rank starts from the very same object: an aggregation reads it once.
        starts: dict[int, Params] = {r: _factors(state)}

        def of(rank: int) -> tuple[Tensors, float]:
            if rank not in starts:
                starts[rank] = received(state, rank)
            return starts[rank], alpha / rank

        return of

    def reduce(
        start: Tensors, contributions: Sequence[Contribution], context: Context, carried: Carried
    ) -> Reduced:
        before, more = _float32(start), (carried,) if carried.rank else ()
        found = rule.aggregate(before, alpha / r, contributions, *more)
        delta = {name: found.params[name] - before[name] for name in before}
        return Reduced(delta, found.error, found.left_out)

    return Space(
        kind=_KIND,
        trains_weights=False,
        num_seeds=None,
        numbers=lambda shapes: shapes.factors,
        initial=lambda shapes: initial_factors(shapes.factors, seed),
        size=lambda numbers, codec: codec.bits(numbers) * numbers / 8,
        download=lambda state, rank: Package(_KIND, received(state, rank)),
        started=started,
        check=lambda start, delta: check_against(start, delta, max_norm=max_norm),
        walked=walked,
        export=lambda shapes, point: (_float32(point.arrays), alpha / r),
        geometry=Geometry(rule.reach or change_norms, _agreement),
        reduce=reduce,
        ranked=True,
        leaves_out=True,
        sections=("lora",),
    )


def _agreement(start: Tensors, contributions: Sequence[Contribution]) -> list[Agreement]:
    return agreements_of_products(change_products(_float32(start), contributions))


def _factors(state: State) -> dict[str, FloatArray]:
    return _float32(params_of(state))


def _float32(tensors: Tensors) -> dict[str, FloatArray]:
    return {name: value.astype(np.float32, copy=False) for name, value in tensors.items()}
