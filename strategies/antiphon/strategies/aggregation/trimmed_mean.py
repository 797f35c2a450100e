"""The coordinate-wise trimmed mean (Yin et al., ICML 2018)."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from antiphon.core.types import Float64Array
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.aggregation.coordinatewise import coordinatewise


def trimmed_mean(*, hostile: Annotated[float, Field(ge=0, lt=0.5)] = 0.2) -> Aggregation:
    """Average each number without the ⌈hostile · n⌉ largest and smallest of the n clients' values."""

    def rule(values: Float64Array) -> Float64Array:
        count = len(values)
        cut = min(math.ceil(hostile * count), (count - 1) // 2)
        middle: Float64Array = values[cut : count - cut].mean(axis=0)
        return middle

    return coordinatewise(rule)
