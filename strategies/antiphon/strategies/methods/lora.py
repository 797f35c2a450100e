"""Method `lora`: AdamW on the factors of an adapter, whose change is sent."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.strategies.methods.method import Method
from antiphon.strategies.methods.role import role
from antiphon.strategies.spaces.space import space


def lora(*, config: RunConfig) -> Method:
    """First-order training of an adapter; clients send how its factors have changed."""
    return Method(space("lora", config), (role("lora", "adamw", "delta", config),), config)
