"""Space `lora_b` at the client: PEFT's adapter with an A that stands still."""

from __future__ import annotations

from antiphon.client.adapter import adapter_in
from antiphon.client.language_model import LanguageModel
from antiphon.client.spaces.tensors import TensorSpace
from antiphon.core.config import RunConfig
from antiphon.strategies.aggregation.adapter import B_SUFFIX
from antiphon.strategies.spaces.frames import frames


def lora_b(*, config: RunConfig, model: LanguageModel) -> TensorSpace:
    """Return the client's half of the space, inside a base model."""
    adapter = adapter_in(model, config)
    adapter.write(frames(adapter.shapes, config.seed), config.lora.lora_alpha / config.lora.r)
    moving = {name: each for name, each in adapter.linears.items() if name.endswith(B_SUFFIX)}
    return TensorSpace(moving)
