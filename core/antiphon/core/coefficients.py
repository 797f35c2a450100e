"""The global model of a `seeds` run as it travels: a number for each candidate seed used so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.core.types import FloatArray, Params


@dataclass(frozen=True, eq=False)
class SeedCoefficients:
    """w = w₀ + Σ_k C_k z_k, with the C_k that are not zero.

    num_seeds: K; index: uint32 (n,) strictly rising, below K; value: float32 (n,), C at those
    seeds; probabilities: float32 (K,), how likely a client is to draw each seed (FedKSeed-Pro),
    none: uniform. They sum to 1 up to rounding: normalise them in float64 before drawing.
    """

    num_seeds: int
    index: npt.NDArray[np.uint32]
    value: FloatArray
    probabilities: FloatArray | None = None

    def dense(self) -> FloatArray:
        """Return all of C, float32 (K,)."""
        coefficients = np.zeros(self.num_seeds, dtype=np.float32)
        coefficients[self.index] = self.value
        return coefficients


Download = Params | SeedCoefficients
"""The global model as a client receives it: the tensors of a space, or what stands for them."""
