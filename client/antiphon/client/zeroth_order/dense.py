"""Probing along dense directions: a perturbed copy of one matrix at a time, never of the model.

W + εz goes into a scratch matrix, is used, becomes W − εz in place, is used again. The weights are not
edited and restored by arithmetic, which would accumulate rounding (it fails in float16 after 200 steps).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from antiphon.client import directions
from antiphon.client.zeroth_order.probe import TakenOver


class DenseProbe:
    """Rademacher or Gaussian directions over linear modules; see `probe.Probe` for the contract."""

    def __init__(self, linears: Mapping[str, nn.Linear], *, kind: str, key: int) -> None:
        """Take over the modules. `kind`: `rademacher` or `gaussian`."""
        self._linears = dict(linears)
        self._kind, self._key = kind, key
        first = next(iter(linears.values())).weight
        self._scratch = first.new_empty(max(linear.weight.numel() for linear in linears.values()))
        self._seed: int | None = None
        self._epsilon = 0.0
        self._taken = TakenOver(self._linears, self._forward)

    @contextmanager
    def two_sided(self, seed: int, epsilon: float) -> Iterator[None]:
        """Within it, the first half of a stacked batch sees w + εz, the second half w − εz."""
        self._seed, self._epsilon = seed, epsilon
        try:
            yield
        finally:
            self._epsilon = 0.0

    @torch.no_grad()
    def move(self, seed: int, coefficient: float) -> None:
        """Set w ← w + coefficient · z(seed), one matrix at a time."""
        for name, linear in self._linears.items():
            linear.weight.add_(self._direction(linear, name, seed), alpha=coefficient)

    def settle(self) -> None:
        """Do nothing: every move is in the weights already."""

    def close(self) -> None:
        """Give the modules their own forward back."""
        self._taken.give_back()

    def _direction(self, linear: nn.Linear, name: str, seed: int) -> torch.Tensor:
        weight = linear.weight
        drawn = directions.dense(
            self._kind, self._key, seed, name, 0, weight.numel(), weight.device
        )
        return drawn.view_as(weight)

    def _forward(self, linear: nn.Linear, name: str, x: torch.Tensor) -> torch.Tensor:
        if self._epsilon == 0.0 or self._seed is None:
            return functional.linear(x, linear.weight, linear.bias)
        z = self._direction(linear, name, self._seed)
        shifted = self._scratch[: z.numel()].view_as(z)
        plus, minus = x.chunk(2)
        torch.add(linear.weight, z, alpha=self._epsilon, out=shifted)
        above = functional.linear(plus, shifted, linear.bias)
        torch.add(linear.weight, z, alpha=-self._epsilon, out=shifted)
        return torch.cat([above, functional.linear(minus, shifted, linear.bias)])
