"""What each client of a mixed run does: first-order training, or a few scalars where memory is short."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.core.config import RunConfig
from antiphon.core.types import Plain


def method_of(config: RunConfig, client: str, facts: Mapping[str, Plain]) -> str:
    """Return `lora` or `seeds`. facts: what the client's machine said of itself when it joined."""
    if config.method != "mixed":
        return config.method
    mixed = config.mixed
    memory, device = facts.get("memory_bytes"), facts.get("device")
    short = (
        mixed.seeds_below_gb is not None
        and isinstance(memory, int | float)
        and memory < mixed.seeds_below_gb * 1e9
    )
    return "seeds" if client in mixed.seeds or short or device in mixed.seeds_devices else "lora"
