"""Space `lora_b`: the factor B of an adapter whose A stands still (FFA-LoRA, Sun et al., ICLR 2024).

Only B travels; the product is linear in B, and the mean of the clients' products is the product of their
mean, exactly (arXiv 2403.12313). Where A comes from: frames/.
"""

from __future__ import annotations

from typing import cast

from antiphon.core.config import RunConfig
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.types import Package, Params
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.spaces.additive import additive
from antiphon.strategies.spaces.space import Space


def lora_b(*, config: RunConfig) -> Space:
    """B moves, A stands still: means are exact. Its keys are those of `lora`."""
    frames = frames_of(config)

    def numbers(shapes: SpaceShapes) -> dict[str, Shape]:
        return {n: shape for n, shape in shapes.factors.items() if n.endswith(B_SUFFIX)}

    def factors(shapes: SpaceShapes, point: Package) -> Params:
        still = frames.factors(shapes.factors, point.frames)
        return {**leading(still, config.lora.r), **cast(Params, point.arrays)}

    return additive("lora_b", config, numbers=numbers, factors=factors, frames=frames)


def leading(frames: Params, r: int) -> Params:
    """Return the frames with r rows of each A, the leading ones."""
    return {name: each[:r] if name.endswith(A_SUFFIX) else each for name, each in frames.items()}
