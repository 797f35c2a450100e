"""The server's half of the method that a config names."""

from __future__ import annotations

import math

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.strategies.guard import Guard
from antiphon.strategies.lora import lora
from antiphon.strategies.method import ServerMethod
from antiphon.strategies.seeds import seeds


def server_method(config: RunConfig) -> ServerMethod:
    """Compose the method from the config's choices."""
    optimizer = registry.build("server_opt", config.server_opt.kind, config.server_opt.arguments)
    if config.method == "seeds":
        return seeds(
            num_seeds=config.seeds.num_seeds,
            optimizer=optimizer,
            max_scalar=config.seeds.max_scalar,
            sampling=config.seeds.sampling,
            guard=Guard(_guard_factor(config)),
        )
    aggregation = config.aggregation
    return lora(
        aggregation=registry.build("aggregation", aggregation.kind, aggregation.arguments),
        optimizer=optimizer,
        lora_alpha=config.lora.lora_alpha,
        r=config.lora.r,
        client_ranks=config.lora.client_ranks,
        max_norm=config.training.max_update_norm,
    )


def _guard_factor(config: RunConfig) -> float:
    # Cohorts that change have losses that differ for no fault of the model: then only a loss that is not
    # finite counts, and what the held-out evaluation says.
    return math.inf if config.cohort.size else config.seeds.guard_loss_factor
