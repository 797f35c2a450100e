"""The factors of a LoRA adapter under PEFT's names.

Shapes: `<module>.lora_A.weight` is A (r, d_in), `<module>.lora_B.weight` is B (d_out, r).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Matrix, Params

A_SUFFIX = ".lora_A.weight"
B_SUFFIX = ".lora_B.weight"


@dataclass(frozen=True)
class Delta:
    """How far one module's factors moved, as received: b (d_out, r), a (r, d_in)."""

    b: FloatArray
    a: FloatArray


@dataclass(frozen=True)
class Factors:
    """One module's factors in float64: b (d_out, r), a (r, d_in)."""

    b: Matrix
    a: Matrix

    @property
    def r(self) -> int:
        """The rank."""
        return int(self.a.shape[0])

    def named(self, module: str) -> dict[str, FloatArray]:
        """Return the two tensors under PEFT's names, rounded to float32."""
        return {module + A_SUFFIX: _float32(self.a), module + B_SUFFIX: _float32(self.b)}


def modules(names: Iterable[str]) -> list[str]:
    """Return the adapted modules, sorted. Raises UpdateError for a tensor without its pair."""
    known = set(names)
    found = sorted(name.removesuffix(A_SUFFIX) for name in known if name.endswith(A_SUFFIX))
    pairs = {module + suffix for module in found for suffix in (A_SUFFIX, B_SUFFIX)}
    if pairs != known:
        raise UpdateError(
            f"{sorted(pairs ^ known)[:3]}: expected pairs of "
            f"<module>{A_SUFFIX} and <module>{B_SUFFIX}"
        )
    return found


def factors_of(params: Params, module: str) -> Factors:
    """Read one module's factors. Raises UpdateError where the ranks of A and B differ."""
    b = params[module + B_SUFFIX].astype(np.float64)
    a = params[module + A_SUFFIX].astype(np.float64)
    if b.ndim != 2 or a.ndim != 2 or b.shape[1] != a.shape[0]:
        raise UpdateError(
            f"{module}: B is {b.shape} and A is {a.shape}, expected (d_out, r), (r, d_in)"
        )
    return Factors(b, a)


def delta_of(params: Params, module: str, start: Factors) -> Delta:
    """Read one module's delta. Raises UpdateError where its shapes are not those of the start."""
    delta = Delta(params[module + B_SUFFIX], params[module + A_SUFFIX])
    if delta.b.shape != start.b.shape or delta.a.shape != start.a.shape:
        raise UpdateError(
            f"{module}: the delta of B is {delta.b.shape} and of A {delta.a.shape}, "
            f"but the client started from {start.b.shape} and {start.a.shape}"
        )
    return delta


def _float32(matrix: npt.NDArray[Any]) -> FloatArray:
    return np.ascontiguousarray(matrix, dtype=np.float32)
