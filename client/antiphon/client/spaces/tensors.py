"""A client's half of a space whose numbers are weights of linear modules beside the frozen base."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Package, Params
from antiphon.core.wire import as_tensors


class TensorSpace:
    """See `space.Space`. Its modules are put into the base before; their weights are what is trained."""

    probabilities = None

    def __init__(self, linears: Mapping[str, nn.Linear]) -> None:
        """Train the weights of `linears`."""
        self.linears = dict(linears)
        self._start: Params = {}

    @torch.no_grad()
    def load(self, download: Package) -> None:
        """Put a point in place. Raises UpdateError for other names or shapes."""
        point = as_tensors(download)
        expected = {name: tuple(each.weight.shape) for name, each in self.linears.items()}
        if (got := {name: value.shape for name, value in point.items()}) != expected:
            raise UpdateError(
                f"the model is of {sorted(got.items())[:2]}, expected {sorted(expected.items())[:2]}"
            )
        for name, linear in self.linears.items():
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(point[name])))
        self._start = point

    def start(self, download: Package) -> None:
        """Put a point in place, to be moved."""
        self.load(download)

    def delta(self) -> Params:
        """Return trained − loaded."""
        return {name: self._read(name) - self._start[name] for name in self._start}

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, name: str) -> FloatArray:
        weight: FloatArray = self.linears[name].weight.detach().cpu().numpy()
        return weight
