"""Multi-Krum: the mean of those whose nearest neighbours are near (Blanchard et al., NeurIPS 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from antiphon.core.types import Float64Array, Matrix
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.aggregation.reweighting import distances, reweighting

_NEIGHBOURS_AND_SELF = 2


def multi_krum(*, hostile: Annotated[float, Field(ge=0, lt=0.5)] = 0.2) -> Aggregation:
    """Leave out the share `hostile` of the cohort that lies farthest from its neighbours.

    Of n clients f = ⌈hostile · n⌉ are left out, (n − 3) / 2 at most; a score is the sum of the squared
    distances to the n − f − 2 nearest.
    """

    def rule(clients: Sequence[str], weights: Float64Array, products: Matrix) -> Float64Array:
        count = len(clients)
        left_out = min(math.ceil(hostile * count), max(0, (count - 3) // 2))
        near = max(1, count - left_out - _NEIGHBOURS_AND_SELF)
        apart = np.sort(distances(products), axis=1)  # the first column is the client itself
        score = apart[:, 1 : 1 + near].sum(axis=1)
        kept = np.argsort(score, kind="stable")[: count - left_out]
        coefficients = np.zeros(count)
        coefficients[kept] = weights[kept] / weights[kept].sum()
        return coefficients

    return reweighting(rule)
