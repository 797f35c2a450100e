"""The client's half of base `bfloat16`."""

from __future__ import annotations

import torch

from antiphon.client.bases.stored import Stored


def bfloat16() -> Stored:
    """Hold every weight in two bytes."""
    return Stored(torch.bfloat16, _gains)


def _gains(device: torch.device) -> bool:
    # AVX-512 BF16 without AMX is slower here than float32 (docs/benchmarks.md), so it does not count.
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()
