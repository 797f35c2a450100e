"""What a run will cost a client, before it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from antiphon.client.bases.base import chosen
from antiphon.client.language_model import pick_device
from antiphon.client.shapes import space_of
from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.defaults import DENSE
from antiphon.core.section import Choice
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.methods.method import Method, method_of
from antiphon.strategies.methods.role import Role

_FLOAT = 4
_ADAM_COPIES = 4  # the factor, its gradient and two moments, all float32


@dataclass(frozen=True)
class Estimate:
    """Parameters in numbers, sizes in bytes; per client and round where it says so.

    once_up, once_down: before a client trains for the first time, about, see Frames, and a model where
    rounds move changes; memory_bytes: weights
    and training state, without activations and libraries. Where clients differ (method mixed, ranks of
    single clients), all sizes are those of the client that needs most.
    """

    model_parameters: int
    trained_parameters: int
    bytes_up: int
    bytes_down: int
    once_up: int
    once_down: int
    memory_bytes: int


def estimate(config: RunConfig) -> Estimate:
    """Return the costs, with the codecs of the config: a policy may choose others, round by round.

    Raises ModelError where the model or its target modules do not exist.
    """
    shapes = space_of(config)
    method = method_of(config)
    total, trained = shapes.model_parameters, method.space.trained(shapes)
    roles, down = method.roles, config.compression.downlink
    names = method.space.places(shapes)
    up = max(_bytes_up(config, role, trained, names) for role in roles)
    once_up, once_down = method.space.frames.once(shapes)
    if config.compression.changes:  # who comes late receives the model, too
        once_down += _bytes_down(method, Choice(kind=DENSE), trained, names)
    received = _bytes_down(method, down, trained, names)
    memory = max(_memory_bytes(config, role, total, trained) for role in roles)
    return Estimate(total, trained, up, received, once_up, once_down, memory)


def _bytes_up(config: RunConfig, role: Role, trained: int, names: int) -> int:
    uplink = config.compression.uplink
    form = role.travels
    size = math.ceil(form.size(trained, _codec(uplink), role.trainer.steps))
    return size + names if form.packs and form.tensors and uplink.kind == DENSE else size


def _bytes_down(method: Method, choice: Choice, trained: int, names: int) -> int:
    size = math.ceil(method.space.size(trained, _codec(choice)))
    # Codecs leave the names out: both sides know them.
    return size + names if method.space.as_tensors and choice.kind == DENSE else size


def _codec(choice: Choice) -> Codec:
    codec: Codec = registry.build("codec", choice.kind, choice.arguments)
    return codec


def _memory_bytes(config: RunConfig, role: Role, total: int, trained: int) -> int:
    wants = method_of(config).wants
    held, _ = chosen(config.model.base, pick_device(config.model.device), wants)
    moments = _ADAM_COPIES * _FLOAT * trained if role.trainer.backward else 0
    return math.ceil(held.bytes_per_parameter * total) + moments
