"""Method `lora`: AdamW on the factors of an adapter, whose change is sent."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.strategies.methods.method import Method, role
from antiphon.strategies.spaces.space import space


def lora(*, config: RunConfig) -> Method:
    """First-order training of an adapter; clients send how its factors have changed."""
    check_ranks(config)
    return Method(space("lora", config), (role("lora", "adamw", "delta", config),))


def check_ranks(config: RunConfig) -> None:
    """Raise ConfigError where clients of unlike ranks meet a rule that needs equal ones."""
    if config.lora.client_ranks and config.aggregation.kind == "factors":
        raise ConfigError(
            "aggregation factors averages A and B of equal rank, but lora.client_ranks gives some "
            "clients another: use aggregation: product, or leave the ranks out"
        )
