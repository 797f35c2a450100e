"""The client's half of a space: where the numbers that a run trains stand in the base model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from antiphon.core.types import Package, Params


class Space(Protocol):
    """One process's model of a run; it serves any number of clients, one after the other."""

    @property
    def linears(self) -> Mapping[str, nn.Linear]:
        """The modules whose weights trainers move, by the names that directions are drawn for."""
        ...

    @property
    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """How likely each candidate seed is drawn by who walks from here, (K,); none: all alike."""
        ...

    def load(self, download: Package) -> None:
        """Put a global model in place, to be measured. Raises UpdateError for another space's."""
        ...

    def start(self, download: Package) -> None:
        """Put a global model in place, to train from: a trainer may move it. Raises UpdateError."""
        ...

    def delta(self) -> Params:
        """Return how far the trained numbers are from their start, float32. Raises UpdateError
        where they are only known as a walk.
        """
        ...

    def close(self) -> None:
        """Give back what is held on disk."""
        ...
