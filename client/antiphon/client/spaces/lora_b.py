"""Space `lora_b` at the client: PEFT's adapter with an A that stands still."""

from __future__ import annotations

from antiphon.client.adapter import adapter_in
from antiphon.client.language_model import LanguageModel
from antiphon.client.spaces.framed import FramedSpace
from antiphon.core.config import RunConfig
from antiphon.strategies.aggregation.adapter import B_SUFFIX
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.spaces.lora_b import leading


def lora_b(*, config: RunConfig, model: LanguageModel) -> FramedSpace:
    """Return the client's half of the space, inside a base model."""
    adapter, frames, r = adapter_in(model, config), frames_of(config), config.lora.r
    shapes, scale = adapter.shapes, config.lora.lora_alpha / r
    return FramedSpace(
        {name: each for name, each in adapter.linears.items() if name.endswith(B_SUFFIX)},
        lambda coded: leading(frames.factors(shapes, coded), r),
        lambda factors: adapter.write(factors, scale),
    )
