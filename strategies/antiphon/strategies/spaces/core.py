"""Space `core`: an r × r matrix between two factors that stand still (Fed-SB, arXiv 2502.15436).

The adapter is B·R·A with orthonormal columns of B and rows of A, both from the run's seed. Only R moves and
travels: r² numbers for each module, whatever its size, and their mean is exact.
"""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX, modules
from antiphon.strategies.spaces.additive import additive
from antiphon.strategies.spaces.frames import frames
from antiphon.strategies.spaces.space import Space

SUFFIX = ".core"


def core(*, config: RunConfig) -> Space:
    """R of B·R·A moves: r × r numbers a module, exact means. Its keys are those of `lora`."""
    r = config.lora.r

    def numbers(shapes: SpaceShapes) -> dict[str, Shape]:
        return {module + SUFFIX: (r, r) for module in modules(shapes.factors)}

    def factors(shapes: SpaceShapes, point: Params) -> Params:
        still = frames(shapes.factors, config.seed)
        made: dict[str, FloatArray] = {}
        for module in modules(shapes.factors):
            made[module + A_SUFFIX] = still[module + A_SUFFIX]
            made[module + B_SUFFIX] = still[module + B_SUFFIX] @ point[module + SUFFIX]
        return made

    return additive("core", config, numbers=numbers, factors=factors)
