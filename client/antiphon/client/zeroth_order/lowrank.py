"""Probing along low-rank directions without touching the weights.

W x + ε u (vᵀx)/√r costs two thin products more than W x, and a move W ← W + c u vᵀ/√r is one more
thin term of the same kind. Moves wait as thin terms and are folded into the weights a few at a time:
one pass over the weights per step would cost a seventh of the step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from antiphon.client.directions import LowRankStreams
from antiphon.client.zeroth_order.probe import TakenOver


class LowRankProbe:
    """Low-rank directions over linear modules; see `probe.Probe` for the contract."""

    def __init__(
        self, linears: Mapping[str, nn.Linear], *, rank: int, key: int, waiting_moves: int = 8
    ) -> None:
        """Take over the modules. Every `waiting_moves` moves are folded into the weights at once."""
        self._linears = dict(linears)
        self._rank = rank
        self._columns = waiting_moves * rank
        device = next(iter(linears.values())).weight.device
        shapes = {
            name: (linear.out_features, linear.in_features) for name, linear in linears.items()
        }
        self._streams = LowRankStreams(shapes, rank, key, device)
        self._u = {n: torch.zeros(m, self._columns, device=device) for n, (m, _) in shapes.items()}
        self._v = {n: torch.zeros(k, self._columns, device=device) for n, (_, k) in shapes.items()}
        self._coefficients: list[float] = []
        self._epsilon = 0.0
        self._drawn: int | None = None
        self._scales = torch.zeros(2, 0, device=device)
        self._taken = TakenOver(self._linears, self._forward)

    @contextmanager
    def two_sided(self, seed: int, epsilon: float) -> Iterator[None]:
        """Within it, the first half of a stacked batch sees w + εz, the second half w − εz."""
        self._draw(seed)
        self._epsilon = epsilon
        self._set_scales()
        try:
            yield
        finally:
            self._epsilon = 0.0
            self._set_scales()

    def move(self, seed: int, coefficient: float) -> None:
        """Set w ← w + coefficient · z(seed); a step along the direction last probed draws nothing."""
        self._draw(seed)
        self._coefficients.append(coefficient)
        self._drawn = None
        if (len(self._coefficients) + 1) * self._rank > self._columns:
            self.settle()
        self._set_scales()

    @torch.no_grad()
    def settle(self) -> None:
        """Fold the waiting moves into the weights."""
        if self._coefficients:
            used = len(self._coefficients) * self._rank
            scale = self._column_scales()
            for name, linear in self._linears.items():
                u, v = self._u[name][:, :used], self._v[name][:, :used]
                linear.weight.addmm_(u * scale, v.T)
        self._coefficients.clear()
        self._drawn = None
        self._set_scales()

    def close(self) -> None:
        """Give the modules their own forward back."""
        self._taken.give_back()

    def _draw(self, seed: int) -> None:
        if self._drawn == seed:
            return
        start = len(self._coefficients) * self._rank
        for name, (u, v) in self._streams.draw(seed).items():
            self._u[name][:, start : start + self._rank] = u
            self._v[name][:, start : start + self._rank] = v
        self._drawn = seed

    def _column_scales(self) -> torch.Tensor:
        coefficients = torch.tensor(self._coefficients, device=self._scales.device)
        return (coefficients / math.sqrt(self._rank)).repeat_interleave(self._rank)

    def _set_scales(self) -> None:
        waiting = self._column_scales()
        if self._epsilon == 0.0:
            self._scales = waiting.expand(1, -1)
            return
        probe = waiting.new_full((self._rank,), self._epsilon / math.sqrt(self._rank))
        self._scales = torch.stack([torch.cat([waiting, probe]), torch.cat([waiting, -probe])])

    def _forward(self, linear: nn.Linear, name: str, x: torch.Tensor) -> torch.Tensor:
        y = functional.linear(x, linear.weight, linear.bias)
        sides, columns = self._scales.shape
        if columns == 0:
            return y
        thin = x.reshape(sides, -1, x.shape[-1]) @ self._v[name][:, :columns]
        thin *= self._scales[:, None, :]
        y.view(-1, y.shape[-1]).addmm_(thin.view(-1, columns), self._u[name][:, :columns].T)
        return y
