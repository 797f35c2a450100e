"""The coordinate-wise median (Yin et al., ICML 2018)."""

from __future__ import annotations

from antiphon.core.types import Float64Array
from antiphon.strategies.aggregation.contribution import Aggregation
from antiphon.strategies.aggregation.coordinatewise import coordinatewise


def median() -> Aggregation:
    """Take the median of the clients' values of each number; of an even count, the middle of the two."""

    def rule(values: Float64Array) -> Float64Array:
        low, high = (len(values) - 1) // 2, len(values) // 2
        middle: Float64Array = (values[low] + values[high]) / 2
        return middle

    return coordinatewise(rule)
