"""The weighted mean of tensors, accumulated in float64 and rounded once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError

Float64Array = npt.NDArray[np.float64]


def weighted_mean(terms: Iterable[tuple[float, Float64Array]]) -> Float64Array:
    """Return Σ share·tensor over (share, tensor), in the order given; shares sum to 1.

    Only one term is held at a time. Raises UpdateError for no terms, or shapes that differ.
    """
    total: Float64Array | None = None
    for share, tensor in terms:
        if total is None:
            total = np.zeros(tensor.shape)
        if tensor.shape != total.shape:
            raise UpdateError(f"cannot average shapes {total.shape} and {tensor.shape}")
        total += share * tensor
    if total is None:
        raise UpdateError("there is nothing to average")
    return total
