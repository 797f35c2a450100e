"""Method `ffa`: FFA-LoRA (Sun et al., ICLR 2024, arXiv 2403.12313)."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.strategies.methods.method import Method
from antiphon.strategies.methods.role import role
from antiphon.strategies.spaces.space import space


def ffa(*, config: RunConfig) -> Method:
    """First-order training of B alone; clients send half as much, and the mean is exact."""
    return Method(space("lora_b", config), (role("ffa", "adamw", "delta", config),), config)
