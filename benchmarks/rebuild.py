"""Rebuilding all linear weights from 4,096 seeds: one product per matrix against drawing dense Gaussians.

    python -m benchmarks.rebuild

The dense reference draws with torch.randn and adds, over one 16 M slab and a few seeds, and is scaled up to
106 M weights and 4,096 seeds: in full it would run for most of an hour.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from antiphon.client.adapter import linear_modules
from antiphon.client.language_model import load
from antiphon.client.zeroth_order.rebuild import add_directions
from antiphon.core.section import Choice
from benchmarks.timing import machine

SEEDS, SLAB, SLAB_SEEDS = 4096, 16_000_000, 8


def dense_seconds(weights: int) -> float:
    """Return the seconds that dense Gaussians would take, from a slab."""
    slab = torch.zeros(SLAB)
    generator = torch.Generator()
    drawn = torch.empty(SLAB)
    for seed in range(-1, SLAB_SEEDS):
        if seed == 0:
            start = time.perf_counter()
        generator.manual_seed(seed + 1)
        slab.add_(drawn.normal_(generator=generator), alpha=1e-6)
    return (time.perf_counter() - start) / SLAB_SEEDS / SLAB * weights * SEEDS


@torch.no_grad()
def main() -> None:
    """Print the table."""
    model = load("smollm2-135m", device="cpu", base=Choice(kind="float32"))
    linears = linear_modules(model.network)
    weights = sum(linear.weight.numel() for linear in linears.values())
    coefficients = np.random.default_rng(0).normal(size=SEEDS) * 1e-9
    taken, dense = [], []
    for _ in range(3):
        start = time.perf_counter()
        add_directions(linears, coefficients, kind="lowrank", rank=1, key=5)
        taken.append(time.perf_counter() - start)
        dense.append(dense_seconds(weights))
    print(machine())
    ratios = sorted(d / t for d, t in zip(dense, taken, strict=True))
    print(f"| {weights / 1e6:.0f} M weights, {SEEDS} seeds | time |\n|---|---|")
    print(f"| low-rank, rank 1 | {sorted(taken)[1]:.1f} s ({min(taken):.1f} to {max(taken):.1f}) |")
    print(f"| dense torch Gaussians, extrapolated | {sorted(dense)[1] / 60:.0f} min |")
    print(f"| ratio | {ratios[1]:.0f} × ({ratios[0]:.0f} to {ratios[-1]:.0f}) |")


if __name__ == "__main__":
    main()
