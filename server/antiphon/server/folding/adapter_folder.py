"""The global model as a folder that PEFT loads."""

from __future__ import annotations

from pathlib import Path

from antiphon.core.config import RunConfig
from antiphon.core.peft_folder import AdapterShape, write_peft_folder
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Params
from antiphon.server.folding.model_card import model_card


def write_adapter(
    path: Path,
    config: RunConfig,
    space: SpaceShapes,
    exported: tuple[Params, float],
    tokenizer: Path | None = None,
) -> None:
    """Write the global model as a folder that PEFT loads.

    exported: what the run's space makes of it, factors and how many times their products count; tokenizer:
    a folder with the base model's, where this machine has one.
    """
    factors, scale = exported
    shape = AdapterShape(space.base_model, scale, config.lora.lora_dropout)
    write_peft_folder(path, factors, shape, card=model_card(config), tokenizer=tokenizer)
