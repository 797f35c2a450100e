"""Method `fedsb`: Fed-SB (Singhal et al., arXiv 2502.15436), its two outer factors drawn from the seed."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.strategies.methods.method import Method
from antiphon.strategies.methods.role import role
from antiphon.strategies.spaces.space import space


def fedsb(*, config: RunConfig) -> Method:
    """First-order training of an r × r matrix per module; clients send r² numbers, and means are exact."""
    return Method(space("core", config), (role("fedsb", "adamw", "delta", config),), config)
