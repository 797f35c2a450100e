"""Method `mixed`: clients with room for a backward pass send deltas, the others scalars, of one adapter."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.strategies.methods.method import Method
from antiphon.strategies.methods.role import Who, role
from antiphon.strategies.spaces.space import space


def mixed(*, config: RunConfig) -> Method:
    """Two roles over one adapter: lora, and seeds for those whom `mixed` names."""
    asked = config.mixed
    if config.seeds.space != "adapter":
        raise ConfigError(
            "method mixed needs one space for both: set seeds.space: adapter, so that the seeds move "
            "the factors that the others train"
        )
    if not (asked.seeds or asked.seeds_below_gb or asked.seeds_devices):
        raise ConfigError(
            "method mixed does not say who sends seed-scalars: set mixed.seeds, "
            "mixed.seeds_below_gb or mixed.seeds_devices"
        )
    devices = frozenset(asked.seeds_devices)
    who = Who("mixed.seeds", frozenset(asked.seeds), asked.seeds_below_gb, devices)
    return Method(
        space("lora", config),
        (role("seeds", "spsa", "scalars", config, who), role("lora", "adamw", "delta", config)),
        config,
    )
