"""The weights that a run's coefficients stand for: w = w₀ + Σ_k C_k z_k, in float32.

With low-rank directions the sum over K seeds of one matrix is one product, U·diag(C)·Vᵀ/√r. With dense
directions every seed is drawn again over the whole model; that is the price of FedKSeed's form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from antiphon.client import directions
from antiphon.core.files import full_disk_is_said

# Columns of U and V held at a time: 1,024 seeds of a 1536 × 576 matrix are 9 MB.
_SEEDS_AT_ONCE = 1024


class WeightsFile:
    """The weights of some modules on disk, to go back to: memory holds the model once, not twice.

    Raw bytes, one tensor after the other; it lives no longer than the process that wrote it.
    """

    def __init__(self, path: str, linears: Mapping[str, nn.Linear]) -> None:
        """Write the modules' present weights to `path`. Raises RunFolderError on a full disk."""
        self._path, self._linears = Path(path), linears
        self.write()

    def write(self) -> None:
        """Remember the modules' present weights instead."""
        with full_disk_is_said(self._path), self._path.open("wb") as file:
            for linear in self._linears.values():
                file.write(linear.weight.detach().cpu().numpy().data.cast("B"))

    @torch.no_grad()
    def restore(self) -> None:
        """Write the remembered weights back into the modules, bit for bit."""
        with self._path.open("rb") as file:
            for linear in self._linears.values():
                weight = linear.weight
                remembered = torch.empty(weight.shape, dtype=weight.dtype)
                file.readinto(remembered.numpy().data.cast("B"))
                weight.copy_(remembered)


@torch.no_grad()
def add_directions(
    linears: Mapping[str, nn.Linear],
    coefficients: npt.NDArray[np.float64],
    *,
    kind: str,
    rank: int,
    key: int,
) -> None:
    """Add Σ_k C_k z_k to the modules' weights; coefficients: (K,), zeros cost nothing."""
    touched = np.flatnonzero(coefficients)
    for name, linear in linears.items():
        device = linear.weight.device
        if kind == "lowrank":
            for start in range(0, len(touched), _SEEDS_AT_ONCE):
                seeds = torch.from_numpy(touched[start : start + _SEEDS_AT_ONCE]).to(device)
                scale = torch.from_numpy(coefficients[seeds.cpu().numpy()]).to(device).float()
                _add_low_rank(linear, name, seeds, scale, rank, key)
        else:
            for seed in touched:
                z = directions.dense(kind, key, int(seed), name, 0, linear.weight.numel(), device)
                linear.weight.add_(z.view_as(linear.weight), alpha=float(coefficients[seed]))


def _add_low_rank(
    linear: nn.Linear, name: str, seeds: torch.Tensor, scale: torch.Tensor, rank: int, key: int
) -> None:
    shape = (linear.out_features, linear.in_features)
    u, v = directions.low_rank_of_seeds(key, seeds, name, shape, rank)
    columns = (scale / math.sqrt(rank)).repeat_interleave(rank)
    linear.weight.addmm_(u * columns, v.T)
