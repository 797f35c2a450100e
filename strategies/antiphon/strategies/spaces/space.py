"""What is known of a space without a model: what clients receive, and how updates make a new point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.strategies.bases.base import Need
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.method import ServerMethod


@dataclass(frozen=True)
class Space:
    """Where a run's numbers stand; the client's half of the same name puts them into a model.

    kind: its name; trains_weights: the linear weights themselves move, else the factors of an adapter;
    num_seeds: K, where clients receive coefficients of seeds and no tensors; guarded: a round after which
    the losses explode is undone; size(numbers, codec) → bytes at most of a point of so many numbers, as
    clients receive it; serve(walks) → the server's half of the run's method, walks: some clients send
    walks; needs: what it needs of the base model.
    """

    kind: str
    trains_weights: bool
    num_seeds: int | None
    guarded: bool
    size: Callable[[int, Codec], float]
    serve: Callable[[bool], ServerMethod]
    needs: frozenset[Need] = frozenset()


def space(kind: str, config: RunConfig) -> Space:
    """Return an installed space as a run's config sets it. Raises ConfigError."""
    built: Space = registry.build("space", kind, {}, {"config": config})
    return built
