"""What is known of a form before anything travels in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.strategies.compression.codec import Codec


@dataclass(frozen=True)
class Form:
    """How a delta travels; the client's half of the same name makes it.

    kind: its name; packs: as tensors, through the codec of the assignment; walks: it says a walk along
    seeded directions, and needs a trainer that takes one. size(numbers, codec, steps) → bytes at most of a
    delta of so many numbers, found in so many steps; a codec that packs nothing here may be none.
    """

    kind: str
    packs: bool
    walks: bool
    size: Callable[[int, Codec | None, int], float]


def form(kind: str, config: RunConfig) -> Form:
    """Return an installed form as a run's config sets it. Raises ConfigError."""
    built: Form = registry.build("form", kind, {}, {"config": config})
    return built
