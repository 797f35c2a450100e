"""Space `lora_b`: the factor B of an adapter whose A stands still (FFA-LoRA, Sun et al., ICLR 2024).

A has orthonormal rows that follow from the run's seed, so that only B travels; the product is linear in B,
and the mean of the clients' products is the product of their mean, exactly (arXiv 2403.12313).
"""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import Params
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX
from antiphon.strategies.spaces.additive import additive
from antiphon.strategies.spaces.frames import frames
from antiphon.strategies.spaces.space import Space


def lora_b(*, config: RunConfig) -> Space:
    """B moves, A stands still: means are exact. Its keys are those of `lora`."""

    def numbers(shapes: SpaceShapes) -> dict[str, Shape]:
        return {n: shape for n, shape in shapes.factors.items() if n.endswith(B_SUFFIX)}

    def factors(shapes: SpaceShapes, point: Params) -> Params:
        still = {n: shape for n, shape in shapes.factors.items() if n.endswith(A_SUFFIX)}
        return {**frames(still, config.seed), **point}

    return additive("lora_b", config, numbers=numbers, factors=factors)
