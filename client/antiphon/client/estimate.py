"""What a run will cost a client, before it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from antiphon.client.language_model import pick_device, pick_precision
from antiphon.client.shapes import trained_shapes
from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.section import Choice
from antiphon.strategies.compression.codec import Codec

_FLOAT = 4
_ADAM_COPIES = 4  # the factor, its gradient and two moments, all float32
_BYTES_PER_SCALAR = 6  # two of the index as a varint, four of the scalar


@dataclass(frozen=True)
class Estimate:
    """Parameters in numbers, sizes in bytes; per client and round where it says so.

    memory_bytes: weights and training state, without activations and libraries. Where clients differ
    (method mixed, ranks of single clients), all three sizes are those of the client that needs most.
    """

    model_parameters: int
    trained_parameters: int
    bytes_up: int
    bytes_down: int
    memory_bytes: int


def estimate(config: RunConfig) -> Estimate:
    """Return the costs, with the codecs of the config: a policy may choose others, round by round.

    Raises ModelError where the model or its target modules do not exist.
    """
    shapes = trained_shapes(config)
    total, trained = shapes.model_parameters, shapes.parameters
    up = max(_bytes_up(config, method, trained) for method in config.methods)
    memory = max(_memory_bytes(config, method, total, trained) for method in config.methods)
    return Estimate(total, trained, up, _bytes_down(config, trained), memory)


def _bytes_up(config: RunConfig, method: str, trained: int) -> int:
    if method == "seeds":
        return _BYTES_PER_SCALAR * config.seeds.max_steps
    return _packed(config.compression.uplink, trained)


def _bytes_down(config: RunConfig, trained: int) -> int:
    if config.method == "seeds":
        # Every seed may have been touched; a full set travels without indices.
        per_seed = _FLOAT * (2 if config.seeds.sampling == "pro" else 1)
        return per_seed * config.seeds.num_seeds
    return _packed(config.compression.downlink, trained)  # of both kinds of a mixed run's clients


def _packed(choice: Choice, parameters: int) -> int:
    codec: Codec = registry.build("codec", choice.kind, choice.arguments)
    return math.ceil(codec.bits(parameters) * parameters / 8)


def _memory_bytes(config: RunConfig, method: str, total: int, trained: int) -> int:
    if method == "seeds":
        return _FLOAT * total
    dtype: torch.dtype = pick_precision(config.model.precision, pick_device(config.model.device))
    return dtype.itemsize * total + _ADAM_COPIES * _FLOAT * trained
