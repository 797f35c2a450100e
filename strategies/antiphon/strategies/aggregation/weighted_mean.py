"""The weighted mean of tensors, accumulated in float64 and rounded once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.types import Float64Array, FloatArray


def weighted_mean(terms: Iterable[tuple[float, Float64Array | FloatArray]]) -> Float64Array:
    """Return Σ share·tensor over (share, tensor), in the order given.

    Only one term is held at a time. Raises UpdateError for no terms, or shapes that differ.
    """
    total: Float64Array | None = None
    term = np.zeros(())
    for share, tensor in terms:
        if total is None:
            total, term = np.zeros(tensor.shape), np.empty(tensor.shape)
        if tensor.shape != total.shape:
            raise UpdateError(f"cannot average shapes {total.shape} and {tensor.shape}")
        total += np.multiply(tensor, share, out=term, dtype=np.float64)
    if total is None:
        raise UpdateError("there is nothing to average")
    return total
