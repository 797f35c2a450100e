"""Space `core` at the client: a small module between PEFT's two factors, which stand still."""

from __future__ import annotations

from antiphon.client.adapter import adapter_in
from antiphon.client.language_model import LanguageModel
from antiphon.client.spaces.framed import FramedSpace
from antiphon.core.config import RunConfig
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.spaces.core import SUFFIX


def core(*, config: RunConfig, model: LanguageModel) -> FramedSpace:
    """Return the client's half of the space, inside a base model."""
    adapter, frames = adapter_in(model, config), frames_of(config)
    shapes, scale = adapter.shapes, config.lora.lora_alpha / config.lora.r
    cores = adapter.with_cores(frames.rows)
    return FramedSpace(
        {module + SUFFIX: each for module, each in cores.items()},
        lambda coded: frames.factors(shapes, coded),
        lambda factors: adapter.write(factors, scale),
    )
