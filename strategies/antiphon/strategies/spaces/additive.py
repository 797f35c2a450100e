"""Spaces of tensors in which the mean of deltas is exact: no product of two factors that both move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.tensors import check_against
from antiphon.core.types import FloatArray, Package, Params, State
from antiphon.strategies.aggregation.additive import delta_norms, delta_products, reduce_additive
from antiphon.strategies.aggregation.contribution import (
    Aggregation,
    Carried,
    Contribution,
    Reduced,
    Tensors,
)
from antiphon.strategies.fold import Context, params_of
from antiphon.strategies.frames.frames import Frames
from antiphon.strategies.protection.agreement import Agreement, agreements_of_products
from antiphon.strategies.protection.protection import Geometry
from antiphon.strategies.seed_space import directions_of, walked_tensors
from antiphon.strategies.spaces.space import Space, Started


def additive(
    kind: str,
    config: RunConfig,
    *,
    numbers: Callable[[SpaceShapes], Mapping[str, Shape]],
    factors: Callable[[SpaceShapes, Package], Params],
    frames: Frames,
) -> Space:
    """Return a space that begins at zero.

    numbers, frames: see Space; factors(shapes, point) → PEFT's factors, whose products count alpha / r
    times.
    """
    chosen = config.aggregation
    rule: Aggregation = registry.build("aggregation", chosen.kind, chosen.arguments)
    max_norm = config.training.max_update_norm

    def initial(shapes: SpaceShapes) -> Params:
        return {name: np.zeros(shape, np.float32) for name, shape in numbers(shapes).items()}

    def started(state: State) -> Started:
        start = _point(state)
        return lambda rank: (start, 1.0)

    def reduce(
        start: Tensors, contributions: Sequence[Contribution], context: Context, carried: Carried
    ) -> Reduced:
        return reduce_additive(rule, start, contributions)

    return Space(
        kind=kind,
        trains_weights=False,
        num_seeds=None,
        numbers=numbers,
        initial=initial,
        size=lambda count, codec: codec.bits(count) * count / 8,
        download=lambda state, r: Package(kind, _point(state)),
        started=started,
        check=lambda start, delta: check_against(start, delta, max_norm=max_norm),
        walked=walked_tensors(directions_of(config), config.seeds.num_seeds),
        export=lambda shapes, point: (
            factors(shapes, point),
            config.lora.lora_alpha / config.lora.r,
        ),
        geometry=Geometry(delta_norms, _agreement),
        reduce=reduce,
        sections=("lora", "frames"),
        frames=frames,
    )


def _agreement(start: Tensors, contributions: Sequence[Contribution]) -> list[Agreement]:
    return agreements_of_products(delta_products(start, contributions))


def _point(state: State) -> dict[str, FloatArray]:
    return {name: each.astype(np.float32, copy=False) for name, each in params_of(state).items()}
