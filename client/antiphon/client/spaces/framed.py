"""A client's half of a space whose numbers move beside or between factors that stand still."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from antiphon.client.spaces.tensors import TensorSpace
from antiphon.core.types import Package, Params, State

Stand = Callable[[Params], None]
"""Puts factors into the base model, by PEFT's names."""


class FramedSpace(TensorSpace):
    """See `space.Space`."""

    def __init__(
        self,
        linears: Mapping[str, nn.Linear],
        factors: Callable[[State], Params],
        stand: Stand,
    ) -> None:
        """Train the weights of `linears`. factors: what stands still, as a model's `frames` say it."""
        super().__init__(linears)
        self._factors, self._stand = factors, stand
        self._coded: dict[str, bytes] | None = None

    def load(self, download: Package) -> None:
        """Put a point in place, and what stands still beside it. Raises UpdateError for another space's."""
        coded = {name: each.tobytes() for name, each in download.frames.items()}
        if coded != self._coded:
            self._stand(self._factors(download.frames))
            self._coded = coded
        super().load(download)
