"""Centred clipping (Karimireddy, He and Jaggi, ICML 2021): v ← v + Σ pᵢ·clip(changeᵢ − v, τ), from v = 0.

The paper begins at the aggregate of the round before and clips clients' momenta. Clients here start from
the global model each round, so that no change is expected before they have spoken. τ is `multiple` times
the median of the distances to v, so that no length has to be known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from antiphon.core.types import Float64Array, Matrix
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.aggregation.reweighting import distances_to, reweighting


def centered_clip(
    *,
    multiple: Annotated[float, Field(gt=0, le=100)] = 1.0,
    iterations: Annotated[int, Field(ge=1, le=1000)] = 5,
) -> Aggregation:
    """Move towards every client, but no farther than the usual distance."""

    def rule(clients: Sequence[str], weights: Float64Array, products: Matrix) -> Float64Array:
        coefficients = np.zeros(len(clients))
        for _ in range(iterations):
            apart = distances_to(products, coefficients)
            radius = multiple * float(np.median(apart))
            step = weights * np.minimum(1.0, radius / np.where(apart > 0, apart, np.inf))
            coefficients = coefficients * (1 - step.sum()) + step
        return coefficients

    return reweighting(rule)
