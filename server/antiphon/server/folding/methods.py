"""The server's half of the method that a config names."""

from __future__ import annotations

import math

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.types import DENSE
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.compression.downlink import packed_downlink
from antiphon.strategies.guard import Guard
from antiphon.strategies.lora import lora
from antiphon.strategies.method import ServerMethod
from antiphon.strategies.mixed import mixed
from antiphon.strategies.seed_space import directions_of
from antiphon.strategies.seeds import seeds


def server_method(config: RunConfig) -> ServerMethod:
    """Compose the method from the config's choices."""
    aggregation, compression = config.aggregation, config.compression
    rule: Aggregation = registry.build("aggregation", aggregation.kind, aggregation.arguments)
    protections = [
        registry.build("protection", each.kind, each.arguments) for each in config.protection
    ]
    optimizer = registry.build("server_opt", config.server_opt.kind, config.server_opt.arguments)
    if config.method == "seeds":
        return seeds(
            num_seeds=config.seeds.num_seeds,
            key=directions_of(config).key,
            optimizer=optimizer,
            max_scalar=config.seeds.max_scalar,
            sampling=config.seeds.sampling,
            guard=Guard(_guard_factor(config)),
            protections=protections,
            combine=rule.combine,
        )
    method = lora(
        aggregation=rule,
        optimizer=optimizer,
        lora_alpha=config.lora.lora_alpha,
        r=config.lora.r,
        client_ranks=config.lora.client_ranks,
        max_norm=config.training.max_update_norm,
        protections=protections,
    )
    if config.method == "mixed":
        method = mixed(
            method,
            r=config.lora.r,
            num_seeds=config.seeds.num_seeds,
            max_scalar=config.seeds.max_scalar,
            along=directions_of(config),
        )
    if compression.downlink.kind == DENSE:
        return method
    codec = registry.build("codec", compression.downlink.kind, compression.downlink.arguments)
    return packed_downlink(method, codec, config.seed, feedback=compression.error_feedback)


def _guard_factor(config: RunConfig) -> float:
    # Cohorts that change have losses that differ for no fault of the model: then only a loss that is not
    # finite counts, and what the held-out evaluation says.
    changes = config.cohort.size or config.cohort.asynchronous
    return math.inf if changes else config.seeds.guard_loss_factor
