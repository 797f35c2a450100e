"""A space at the coordinator: where a run's numbers stand, and how updates make a new point of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import Package, Params, State
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.bases.base import Need
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.fold import Reduce, Stage
from antiphon.strategies.forms.walk import Walked
from antiphon.strategies.frames.frames import NO_FRAMES, Frames
from antiphon.strategies.protection.protection import Geometry

_PLACE_BYTES = 128  # beside a tensor's name: nearly twice what ours have

Started = Callable[[int], tuple[Tensors, float]]
"""rank → what clients of it started from, and how many times a product counts (1 where there is none)."""


@dataclass(frozen=True)
class Space:
    """Where a run's numbers stand; the client's half of the same name puts them into a model.

    kind: its name; trains_weights: the linear weights themselves move, else something of an adapter;
    num_seeds: K, where the numbers are coefficients of seeds, and only a walk says a delta; ranked:
    clients may have smaller ranks; leaves_out: a sum of deltas need not be one; frames: what stands still
    beside it; needs: what it needs of the base model; sections: of the config, where its arguments stand.

    numbers(shapes) → shapes of what is trained, by name, of a model's shapes; initial(shapes) → the point
    before the first round; size(numbers, codec) → bytes at most of a point of so many numbers, as clients
    receive it; download(state, r) → what a client of rank r receives; started(state) → Started;
    check(start, delta) raises UpdateError for a delta that is none of this space; walked: see
    forms/walk.py; export(shapes, point) → factors by PEFT's names and how many times their products count,
    of a point as a client receives it.

    geometry, reduce: how contributions are measured and folded; last: stages of its own.
    """

    kind: str
    trains_weights: bool
    num_seeds: int | None
    numbers: Callable[[SpaceShapes], Mapping[str, Shape]]
    initial: Callable[[SpaceShapes], Tensors]
    size: Callable[[int, Codec], float]
    download: Callable[[State, int], Package]
    started: Callable[[State], Started]
    check: Callable[[Tensors, Tensors], None]
    walked: Walked
    export: Callable[[SpaceShapes, Package], tuple[Params, float]]
    geometry: Geometry
    reduce: Reduce
    last: tuple[Stage, ...] = ()
    ranked: bool = False
    leaves_out: bool = False
    needs: frozenset[Need] = frozenset()
    sections: tuple[str, ...] = ()
    frames: Frames = NO_FRAMES

    def trained(self, shapes: SpaceShapes) -> int:
        """Return how many numbers a run trains in a model with these shapes."""
        return sum(rows * columns for rows, columns in self.numbers(shapes).values())

    def places(self, shapes: SpaceShapes) -> int:
        """Return the bytes at most that the names, shapes and places of its tensors take beside them."""
        return sum(len(name.encode()) + _PLACE_BYTES for name in self.numbers(shapes))

    @property
    def as_tensors(self) -> bool:
        """Whether a delta is known as tensors."""
        return self.num_seeds is None


def space(kind: str, config: RunConfig) -> Space:
    """Return an installed space as a run's config sets it. Raises ConfigError."""
    built: Space = registry.build("space", kind, {}, {"config": config})
    return built
