"""Method `ferret`: first-order training, K numbers sent (Shu et al., ICML 2025, arXiv 2409.06277)."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.strategies.methods.method import Method
from antiphon.strategies.methods.role import role
from antiphon.strategies.spaces.space import space


def ferret(*, config: RunConfig) -> Method:
    """First-order training of an adapter; clients send its change on K seeded directions."""
    return Method(space("lora", config), (role("ferret", "adamw", "projection", config),), config)
