"""The global model of a `seeds` run: a number for each candidate seed used so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.core.types import AnyArray, FloatArray, Package

_DENSE_BYTES, _SPARSE_BYTES = 4, 5  # of a coefficient: a float32; one and the gap to it


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


def as_package(form: str, sent: SeedCoefficients) -> Package:
    """Return coefficients as they travel: all K where the indices of those that are not zero, a byte each
    at least, would take more than the zeros.
    """
    arrays: dict[str, AnyArray] = {"value": sent.dense()}
    if _SPARSE_BYTES * len(sent.index) <= _DENSE_BYTES * sent.num_seeds:
        arrays = {"value": sent.value, "index": sent.index}
    if sent.probabilities is not None:
        arrays["probability"] = sent.probabilities
    return Package(form, arrays)


def coefficients_of(package: Package, num_seeds: int) -> SeedCoefficients:
    """Return the coefficients in a package. num_seeds: K. Raises UpdateError for those of another run."""
    arrays = package.arrays
    if not {"value"} <= set(arrays) <= {"value", "index", "probability"}:
        raise UpdateError(f"the model is of {sorted(arrays)[:4]}, expected seed coefficients")
    value = cast(FloatArray, arrays["value"])
    if "index" in arrays:
        index = arrays["index"].astype(np.uint32)
    elif value.shape == (num_seeds,):
        index = np.flatnonzero(value).astype(np.uint32)
        value = value[index]
    else:
        raise UpdateError(
            f"the model has {len(value)} coefficients, expected all of K = {num_seeds}"
        )
    probabilities = cast("FloatArray | None", arrays.get("probability"))
    fit = index.shape == value.shape == (len(value),)
    if not fit or (probabilities is not None and probabilities.shape != (num_seeds,)):
        raise UpdateError(
            f"the model has {len(value)} coefficients, {len(index)} indices and "
            f"{num_seeds if probabilities is None else len(probabilities)} probabilities: they do not fit "
            f"together for K = {num_seeds}"
        )
    if (np.diff(index.astype(np.int64)) <= 0).any() or (len(index) and index[-1] >= num_seeds):
        raise UpdateError(f"seed indices do not rise strictly below K = {num_seeds}")
    return SeedCoefficients(num_seeds, index, value, probabilities)
