"""Space `span`: w = w₀ + Σ_k C_k z_k, K coefficients of seeded directions (FedKSeed, arXiv 2312.06353)."""

from __future__ import annotations

import math

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.strategies.bases.base import Need
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.guard import Guard
from antiphon.strategies.method import ServerMethod
from antiphon.strategies.seed_space import directions_of
from antiphon.strategies.seeds import seeds
from antiphon.strategies.spaces.space import Space

_COEFFICIENT_BYTES = 5  # a gap of one and a float32: a set with longer gaps has fewer of them
_PROBABILITY_BYTES = 4


def span(*, config: RunConfig) -> Space:
    """Coefficients of seeded directions over weights or factors; its keys are those of `seeds`."""
    moves_weights = config.seeds.space == "weights"
    each = _COEFFICIENT_BYTES + (_PROBABILITY_BYTES if config.seeds.sampling == "pro" else 0)

    def size(numbers: int, codec: Codec) -> float:
        return each * config.seeds.num_seeds

    def serve(walks: bool) -> ServerMethod:
        return _served(config)

    return Space(
        kind="span",
        trains_weights=moves_weights,
        num_seeds=config.seeds.num_seeds,
        guarded=True,
        size=size,
        serve=serve,
        needs=frozenset({Need.WEIGHTS} if moves_weights else ()),
    )


def _served(config: RunConfig) -> ServerMethod:
    rule = registry.build("aggregation", config.aggregation.kind, config.aggregation.arguments)
    return seeds(
        num_seeds=config.seeds.num_seeds,
        key=directions_of(config).key,
        optimizer=registry.build("server_opt", config.server_opt.kind, config.server_opt.arguments),
        max_scalar=config.seeds.max_scalar,
        sampling=config.seeds.sampling,
        guard=Guard(_guard_factor(config)),
        protections=[
            registry.build("protection", each.kind, each.arguments) for each in config.protection
        ],
        combine=rule.combine,
    )


def _guard_factor(config: RunConfig) -> float:
    # Cohorts that change have losses that differ for no fault of the model: then only a loss that is not
    # finite counts, and what the held-out evaluation says.
    changes = config.cohort.size or config.cohort.asynchronous
    return math.inf if changes else config.seeds.guard_loss_factor
