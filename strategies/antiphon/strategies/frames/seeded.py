"""Frames `seeded`: orthonormal rows and columns that follow from the run's seed. Nothing travels."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.core.config import RunConfig
from antiphon.core.space import Shape
from antiphon.core.types import Params, State
from antiphon.strategies.frames.frames import Frames
from antiphon.strategies.frames.orthonormal import orthonormal_frames


def seeded(*, config: RunConfig) -> Frames:
    """Drawn from the run's seed: they cost no bytes, and know nothing of the task."""

    def factors(shapes: Mapping[str, Shape], coded: State) -> Params:
        return orthonormal_frames(shapes, config.seed)

    return Frames("seeded", config.lora.r, factors)
