"""Space `core`: a matrix between two factors that stand still (Fed-SB, arXiv 2502.15436).

The adapter is B·R·A. Only R moves and travels: r numbers for each row of A and module, whatever the
module's size, and their mean is exact. Where B and A come from: frames/.
"""

from __future__ import annotations

from typing import cast

from antiphon.core.config import RunConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import FloatArray, Package, Params
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX, modules
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.spaces.additive import additive
from antiphon.strategies.spaces.space import Space

SUFFIX = ".core"


def core(*, config: RunConfig) -> Space:
    """R of B·R·A moves: r × r numbers a module, exact means. Its keys are those of `lora`."""
    r, frames = config.lora.r, frames_of(config)

    def numbers(shapes: SpaceShapes) -> dict[str, Shape]:
        return {module + SUFFIX: (r, frames.rows) for module in modules(shapes.factors)}

    def factors(shapes: SpaceShapes, point: Package) -> Params:
        still, moved = frames.factors(shapes.factors, point.frames), cast(Params, point.arrays)
        made: dict[str, FloatArray] = {}
        for module in modules(shapes.factors):
            a, b, middle = (
                still[module + A_SUFFIX],
                still[module + B_SUFFIX],
                moved[module + SUFFIX],
            )
            square = frames.rows == r
            made[module + A_SUFFIX] = a if square else middle @ a
            made[module + B_SUFFIX] = b @ middle if square else b
        return made

    return additive("core", config, numbers=numbers, factors=factors, frames=frames)
