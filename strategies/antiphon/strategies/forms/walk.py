"""A walk along seeded directions: zeroth-order steps in the order they were taken.

A client that took steps w ← w − lr·g_t·z_{k_t} has moved by Σ_k c_k z_k with c_k = −lr·Σ_{t: k_t = k} g_t.
What that is as a delta is the space's to say: the coefficients themselves, or tensors for which the same
directions are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.core.types import Float64Array, FloatArray
from antiphon.strategies.aggregation.contribution import Tensors

Walked = Callable[[Tensors, Float64Array, float, float], Tensors]
"""(start, gradients, learning_rate, rate_of_round) → the delta of −learning_rate · Σ_k gradients_k z_k.

start: the global parameters; gradients: float64 (K,), Σ_{t: k_t = k} g_t.
"""


@dataclass(frozen=True)
class Walk:
    """Step t moved along direction index[t].

    index: uint32 (n,), which of the run's candidate seeds; value: float32 (n,), the projected gradient
    g_t = (L(w + εz) − L(w − εz)) / 2ε. The step itself was w ← w − lr·g_t·z.
    """

    index: npt.NDArray[np.uint32]
    value: FloatArray

    def gradients(self, num_seeds: int) -> Float64Array:
        """Return Σ_{t: k_t = k} g_t, float64 (K,)."""
        weights = self.value.astype(np.float64)
        summed = np.bincount(self.index, weights=weights, minlength=num_seeds)
        return summed.astype(np.float64)
