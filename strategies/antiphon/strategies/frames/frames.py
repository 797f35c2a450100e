"""Frames: the factors A and B of an adapter that stand still while something between or beside them moves.

What a run can learn lies in the space that they span, so that they decide how well it learns with few
numbers. A member of kind `frames` says where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import Params, State
from antiphon.strategies.exchanges.exchange import Exchange


@dataclass(frozen=True)
class Frames:
    """Where a run's frames come from.

    kind: its name; rows: of each A, where B has lora.r columns; factors(shapes, coded) → A (rows, d_in)
    and B (d_out, lora.r) by PEFT's names, the same bits on every machine: shapes: of the adapter's
    factors; coded: what the exchange has come to, empty before it; most(shapes) → bytes of that at most;
    once(shapes) → about how many bytes a client sends for them and receives, once in a run; exchange: in
    which they are found, before a run trains for the first time; none: they follow from the seed; work:
    what it draws of a site's rows, as Method.work says it; says: what a client sends in it, in words.
    """

    kind: str
    rows: int
    factors: Callable[[Mapping[str, Shape], State], Params]
    most: Callable[[SpaceShapes], int] = lambda shapes: 0
    once: Callable[[SpaceShapes], tuple[int, int]] = lambda shapes: (0, 0)
    exchange: Exchange | None = None
    work: Mapping[str, int] = field(default_factory=dict)
    says: str = ""


def _none(shapes: Mapping[str, Shape], coded: State) -> Params:
    return {}


NO_FRAMES = Frames("", 0, _none)
"""Of a space in which nothing stands still."""


def frames_of(config: RunConfig) -> Frames:
    """Return the frames that a run's config names. Raises ConfigError."""
    chosen = config.frames
    built: Frames = registry.build("frames", chosen.kind, chosen.arguments, {"config": config})
    return built
