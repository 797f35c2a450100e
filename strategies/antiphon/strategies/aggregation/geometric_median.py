"""The geometric median by smoothed Weiszfeld steps: RFA (Pillutla, Kakade and Harchaoui, 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from antiphon.core.types import Float64Array, Matrix
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.aggregation.reweighting import distances_to, reweighting

_SMOOTHING = 1e-6  # of the median length: where a client stands on the median itself


def geometric_median(*, iterations: Annotated[int, Field(ge=1, le=1000)] = 16) -> Aggregation:
    """Take the point whose weighted distances to all changes have the smallest sum."""

    def rule(clients: Sequence[str], weights: Float64Array, products: Matrix) -> Float64Array:
        nearest = _SMOOTHING * float(np.median(np.sqrt(np.diag(products))))
        coefficients = weights
        for _ in range(iterations):
            apart = np.maximum(distances_to(products, coefficients), nearest)
            if not apart.all():  # nobody moved anything
                return weights
            pull = weights / apart
            coefficients = pull / pull.sum()
        return coefficients

    return reweighting(rule)
