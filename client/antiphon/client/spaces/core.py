"""Space `core` at the client: an r × r module between PEFT's two factors, which stand still."""

from __future__ import annotations

from antiphon.client.adapter import adapter_in
from antiphon.client.language_model import LanguageModel
from antiphon.client.spaces.tensors import TensorSpace
from antiphon.core.config import RunConfig
from antiphon.strategies.spaces.core import SUFFIX
from antiphon.strategies.spaces.frames import frames


def core(*, config: RunConfig, model: LanguageModel) -> TensorSpace:
    """Return the client's half of the space, inside a base model."""
    adapter = adapter_in(model, config)
    adapter.write(frames(adapter.shapes, config.seed), config.lora.lora_alpha / config.lora.r)
    return TensorSpace(
        {module + SUFFIX: each for module, each in adapter.with_cores(config.lora.r).items()}
    )
