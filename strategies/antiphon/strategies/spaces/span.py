"""Space `span`: w = w₀ + Σ_k C_k z_k, K coefficients of seeded directions (FedKSeed, arXiv 2312.06353).

The server holds K numbers. A client's part is Σ_{t: k_t = k} g_t, in units of the learning rate of the
round; the fold adds −lr times their mean to C. Linear server optimizers act on C as they would on w.

State: `params/coefficients` float64 (K,), and for sampling `pro` what its stage remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.core import registry
from antiphon.core.coefficients import SeedCoefficients, as_package, coefficients_of
from antiphon.core.config import RunConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import Float64Array, Package, Params, State
from antiphon.strategies.aggregation.additive import delta_norms, reduce_additive
from antiphon.strategies.aggregation.contribution import (
    Aggregation,
    Carried,
    Contribution,
    Reduced,
    Tensors,
)
from antiphon.strategies.bases.base import Need
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.fold import Context, params_of
from antiphon.strategies.initial_factors import initial_factors
from antiphon.strategies.protection.agreement import Agreement, agreements
from antiphon.strategies.protection.protection import Geometry
from antiphon.strategies.seed_history import history, probabilities
from antiphon.strategies.seed_space import as_lora, directions_of, moved
from antiphon.strategies.spaces.space import Space, Started

_KIND, _NAME = "span", "coefficients"
_COEFFICIENT_BYTES = 4  # all of them; fewer, with the gaps between them, take no more
_PROBABILITY_BYTES = 4


def span(*, config: RunConfig) -> Space:
    """Coefficients of seeded directions over weights or factors; its keys are those of `seeds`."""
    chosen = config.aggregation
    return coefficients(
        registry.build("aggregation", chosen.kind, chosen.arguments),
        config.seeds.num_seeds,
        drawn=config.seeds.sampling == "pro",
        over=_weights(config) if config.seeds.space == "weights" else _factors(config),
    )


@dataclass(frozen=True)
class Over:
    """What directions are drawn for. weights: the linear weights themselves, else the factors of an
    adapter; numbers, export: see Space.
    """

    weights: bool
    numbers: Callable[[SpaceShapes], Mapping[str, Shape]]
    export: Callable[[SpaceShapes, SeedCoefficients], tuple[Params, float]]


def _weights(config: RunConfig) -> Over:
    def export(shapes: SpaceShapes, sent: SeedCoefficients) -> tuple[Params, float]:
        # The exact factors of a sum of directions count once: PEFT's alpha is their rank.
        return as_lora(shapes.weights, sent, directions_of(config)), 1.0

    return Over(True, lambda shapes: shapes.weights, export)


def _factors(config: RunConfig) -> Over:
    def export(shapes: SpaceShapes, sent: SeedCoefficients) -> tuple[Params, float]:
        start = initial_factors(shapes.factors, config.seed)
        scale = config.lora.lora_alpha / config.lora.r
        return moved(start, sent, directions_of(config)), scale

    return Over(False, lambda shapes: shapes.factors, export)


def coefficients(
    rule: Aggregation,
    num_seeds: int,
    *,
    over: Over,
    drawn: bool = False,
) -> Space:
    """Return the space. num_seeds: K; drawn: seeds that have mattered are tried more often."""
    each = _COEFFICIENT_BYTES + (_PROBABILITY_BYTES if drawn else 0)

    def size(_: int, codec: Codec) -> float:
        return each * num_seeds

    def download(state: State, r: int) -> Package:
        value = _coefficients(state).astype(np.float32)
        index = np.flatnonzero(value).astype(np.uint32)
        chances = probabilities(state, num_seeds).astype(np.float32) if drawn else None
        return as_package(_KIND, SeedCoefficients(num_seeds, index, value[index], chances))

    def reduce(
        start: Tensors, contributions: Sequence[Contribution], context: Context, carried: Carried
    ) -> Reduced:
        combined = reduce_additive(rule, start, contributions).delta[_NAME]
        return Reduced({_NAME: -context.learning_rate * _wide(combined)})

    return Space(
        kind=_KIND,
        trains_weights=over.weights,
        num_seeds=num_seeds,
        numbers=over.numbers,
        initial=lambda shapes: {_NAME: np.zeros(num_seeds)},
        size=size,
        download=download,
        started=_started,
        check=lambda start, delta: None,
        walked=_walked,
        export=lambda shapes, point: over.export(shapes, coefficients_of(point, num_seeds)),
        geometry=Geometry(delta_norms, _agreement),
        reduce=reduce,
        last=(history(num_seeds),) if drawn else (),
        needs=frozenset({Need.WEIGHTS} if over.weights else ()),
        sections=("seeds",) if over.weights else ("lora", "seeds"),
    )


def _started(state: State) -> Started:
    start = {_NAME: _coefficients(state)}
    return lambda rank: (start, 1.0)


def _walked(
    start: Tensors, gradients: Float64Array, learning_rate: float, rate_of_round: float
) -> Tensors:
    same = learning_rate == rate_of_round
    return {_NAME: (1.0 if same else learning_rate / rate_of_round) * gradients}


def _agreement(start: Tensors, contributions: Sequence[Contribution]) -> list[Agreement]:
    return agreements(np.stack([each.delta[_NAME] for each in contributions]))


def _coefficients(state: State) -> Float64Array:
    # Version 0.3 kept them under their name alone.
    return _wide(params_of(state).get(_NAME, state.get(_NAME)))


def _wide(array: Any) -> Float64Array:
    return np.asarray(array, dtype=np.float64)
