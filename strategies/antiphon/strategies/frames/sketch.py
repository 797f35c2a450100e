"""A sketch of the gradients of an adapter's modules: what their frames are made of.

Of each module's gradient G (d_out, d_in) a client sends Y = GΩ, and of all modules that read the same
kind of input (their names end alike) Z = Σ ΨG together. Ω (d_in, c) and Ψ (q, d_out) are Gaussian and
follow from the run's seed. Both are linear, so that the sketch of a mean is the mean of sketches. The
columns of Y span about the range of G, the rows of Z about that of Gᵀ (Halko, Martinsson and Tropp, SIAM
Review 2011).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from antiphon.core.directions import tensor_id
from antiphon.core.errors import ConfigError
from antiphon.core.space import Shape
from antiphon.core.types import FloatArray
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX, modules

_MORE_COLUMNS, _MORE_ROWS = 4, 8  # than are kept of the range: of a rank that is not known


@dataclass(frozen=True)
class Sketch:
    """How gradients of the modules are sketched. sides: (d_out, d_in) by module; r: columns that B is to
    have; rows: that A is to have; seed: of the run.
    """

    sides: Mapping[str, Shape]
    r: int
    rows: int
    seed: int

    @property
    def left(self) -> dict[str, Shape]:
        """The shape of Y, by module."""
        return {each: (d_out, self.r + _MORE_COLUMNS) for each, (d_out, _) in self.sides.items()}

    @property
    def right(self) -> dict[str, Shape]:
        """The shape of Z, by kind of input."""
        return {
            kind_of(each, side): (self.rows + _MORE_ROWS, side[1])
            for each, side in self.sides.items()
        }

    def columns(self, module: str) -> FloatArray:
        """Return Ω of a module, (d_in, c)."""
        side = self.sides[module]
        return self._gaussian(f"columns {kind_of(module, side)}", (side[1], self.left[module][1]))

    def combinations(self, module: str) -> FloatArray:
        """Return Ψ of a module, (q, d_out)."""
        return self._gaussian(f"rows {module}", (self.rows + _MORE_ROWS, self.sides[module][0]))

    def _gaussian(self, name: str, shape: Shape) -> FloatArray:
        rng = np.random.Generator(np.random.Philox(key=[self.seed, tensor_id(name)]))
        return rng.standard_normal(shape, dtype=np.float32)


def sketch_of(factors: Mapping[str, Shape], r: int, rows: int, seed: int) -> Sketch:
    """Return the sketch for an adapter with factors of these shapes.

    Raises ConfigError where a module has fewer dimensions than its frames are to have.
    """
    sides = {
        each: (factors[each + B_SUFFIX][0], factors[each + A_SUFFIX][1])
        for each in modules(factors)
    }
    for module, (d_out, d_in) in sides.items():
        if r > d_out or rows > d_in:
            raise ConfigError(
                f"frames of {rows} rows and {r} columns, but {module} has {d_out} × {d_in} dimensions, of "
                "which no more can be orthonormal: lower lora.r or frames.rows"
            )
    return Sketch(sides, r, rows, seed)


def kind_of(module: str, side: Shape) -> str:
    """Return what the module reads: modules of one name in every layer share an A."""
    return f"{module.rsplit('.', 1)[-1]} {side[1]}"
