"""What an update counts for that was computed from an older model than the one it is folded into.

Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation" (FedBuff), AISTATS 2022: an
update that τ folds have overtaken counts s(τ) = 1 / √(1 + τ) times. It is the polynomial discount
(1 + τ)^−a of FedAsync (Xie, Koyejo and Gupta, 2019) with a = ½.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Params


def discount(staleness: int) -> float:
    """Return s(τ), in (0, 1] and exactly 1 for τ = 0. Raises UpdateError for τ < 0."""
    if staleness < 0:
        raise UpdateError(f"a staleness of {staleness}: an update cannot begin after its own fold")
    return 1 / math.sqrt(1 + staleness)


def discounted(delta: Params, staleness: int) -> Params:
    """Return s(τ)·delta, read tensor by tensor; for τ = 0 the delta itself, bit for bit."""
    return _Scaled(delta, discount(staleness)) if staleness else delta


class _Scaled(Mapping[str, FloatArray]):
    """Tensors times a factor, one at a time: they may be larger together than the memory."""

    def __init__(self, tensors: Params, factor: float) -> None:
        self._tensors, self._factor = tensors, np.float32(factor)

    def __getitem__(self, name: str) -> FloatArray:
        return self._tensors[name] * self._factor

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
