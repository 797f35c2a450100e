"""Factors that stand still for a whole run: orthonormal rows and columns, from the run's seed alone.

They are computed in float64 and rounded once, so that every machine has the same float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from antiphon.core.directions import tensor_id
from antiphon.core.errors import ConfigError
from antiphon.core.space import Shape
from antiphon.core.types import FloatArray
from antiphon.strategies.aggregation.adapter import A_SUFFIX


def frame(name: str, shape: Shape, seed: int) -> FloatArray:
    """Return a matrix whose rows (a factor A) or columns (a factor B) are orthonormal, drawn uniformly.

    name: of the factor; seed: of the run. Raises ConfigError where the rank is above the module's sides.
    """
    rows, columns = shape
    tall = (columns, rows) if name.endswith(A_SUFFIX) else (rows, columns)
    if tall[1] > tall[0]:
        raise ConfigError(
            f"lora.r is {tall[1]}, but {name} has only {tall[0]} dimensions, of which no more can be "
            "orthonormal: lower the rank"
        )
    rng = np.random.Generator(np.random.Philox(key=[seed, tensor_id(name)]))
    q, upper = np.linalg.qr(rng.standard_normal(tall))
    # QR leaves the signs open: with those of the diagonal the frame is unique.
    signed = (q * np.where(np.diag(upper) < 0, -1.0, 1.0)).astype(np.float32)
    return np.ascontiguousarray(signed.T if name.endswith(A_SUFFIX) else signed)


def orthonormal_frames(shapes: Mapping[str, Shape], seed: int) -> dict[str, FloatArray]:
    """Return a frame for each of the factors."""
    return {name: frame(name, shape, seed) for name, shape in shapes.items()}
