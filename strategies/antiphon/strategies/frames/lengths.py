"""How long the gradients of modules are beside one another: a byte each, so that all machines weigh alike.

Steps of Adam find out for themselves how far each number has to move. A step along one random direction
cannot: what it learns of all modules together is one number, and those that matter little add noise. So
modules may count by the length of their gradients. What travels are whole numbers from 0 to 255, the
longest 255; of them come, by a division and a root that IEEE 754 rounds the same everywhere, weights whose
mean square is one: a random step moves the model about as far as where all count alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.core.types import AnyArray, Float64Array, FloatArray

Table = npt.NDArray[np.uint8]

_MOST = 255


def as_bytes(lengths: Float64Array) -> Table:
    """Return lengths ≥ 0, (n,), as whole numbers, the longest 255; all 255 where all are zero."""
    most = float(lengths.max())
    if most == 0.0:
        return np.full(lengths.shape, _MOST, np.uint8)
    whole: Table = np.round(lengths / most * _MOST).astype(np.uint8)
    return whole


def checked(code: AnyArray | None, count: int) -> Table:
    """Return lengths as they were sent. Raises UpdateError for another dtype or number of them."""
    if code is None or code.dtype != np.uint8 or code.shape != (count,):
        got = "nothing" if code is None else f"{code.dtype} with sides {code.shape}"
        raise UpdateError(f"got lengths of gradients as {got}, expected {count} bytes")
    return code.astype(np.uint8, copy=False)


def in_common(sent: Sequence[Table]) -> Table:
    """Return the mean of what clients sent, each as shares of its own sum: nobody speaks louder."""
    shares = [each / max(1, int(each.sum(dtype=np.int64))) for each in sent]
    return as_bytes(np.mean(shares, axis=0))


def weights(table: Table) -> FloatArray:
    """Return how modules count, (n,), the mean square one; ones where all lengths are zero."""
    square = table.astype(np.int64) ** 2
    total = int(square.sum())
    if total == 0:
        return np.ones(table.shape, np.float32)
    # Sums and products of whole numbers are exact in any order.
    weighed: FloatArray = np.sqrt(square * table.size / total).astype(np.float32)
    return weighed
