"""What a run will cost a client, before it runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from antiphon.client.language_model import pick_device, pick_precision
from antiphon.client.shapes import trained_shapes
from antiphon.core.config import RunConfig

_FLOAT = 4
_ADAM_COPIES = 4  # the factor, its gradient and two moments, all float32
_BYTES_PER_SCALAR = 6  # two of the index as a varint, four of the scalar


@dataclass(frozen=True)
class Estimate:
    """Parameters in numbers, sizes in bytes; per client and round where it says so.

    memory_bytes: weights and training state, without activations and libraries.
    """

    model_parameters: int
    trained_parameters: int
    bytes_up: int
    bytes_down: int
    memory_bytes: int


def estimate(config: RunConfig) -> Estimate:
    """Return the costs. Raises ModelError where the model or its target modules do not exist."""
    shapes = trained_shapes(config)
    total, trained = shapes.model_parameters, shapes.parameters
    if config.method == "seeds":
        seeds = config.seeds
        # Every seed may have been touched; a full set travels without indices.
        per_seed = _FLOAT * (2 if seeds.sampling == "pro" else 1)
        up, down = _BYTES_PER_SCALAR * seeds.max_steps, per_seed * seeds.num_seeds
        return Estimate(total, trained, up, down, _FLOAT * total)
    dtype: torch.dtype = pick_precision(config.model.precision, pick_device(config.model.device))
    moved = _FLOAT * trained
    return Estimate(total, trained, moved, moved, dtype.itemsize * total + _ADAM_COPIES * moved)
