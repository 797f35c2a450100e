"""The global model as a folder that PEFT loads."""

from __future__ import annotations

from pathlib import Path

from antiphon.core.coefficients import Download, SeedCoefficients
from antiphon.core.config import RunConfig
from antiphon.core.peft_folder import AdapterShape, write_peft_folder
from antiphon.core.space import Space
from antiphon.server.folding.model_card import model_card
from antiphon.strategies.initial_factors import initial_factors
from antiphon.strategies.methods.method import method_of
from antiphon.strategies.seed_space import as_lora, directions_of, moved


def write_adapter(
    path: Path,
    config: RunConfig,
    space: Space,
    download: Download,
    tokenizer: Path | None = None,
) -> None:
    """Write the global model as a folder that PEFT loads; `download` is what a client would receive.

    tokenizer: a folder with the base model's, where this machine has one.
    """
    scale = config.lora.lora_alpha / config.lora.r
    factors = download
    if isinstance(download, SeedCoefficients):
        along = directions_of(config)
        if method_of(config).space.trains_weights:
            # The exact factors of a sum of directions count once: PEFT's alpha is their rank.
            scale, factors = 1.0, as_lora(space.weights, download, along)
        else:
            factors = moved(initial_factors(space.factors, config.seed), download, along)
    assert not isinstance(factors, SeedCoefficients)
    shape = AdapterShape(space.base_model, scale, config.lora.lora_dropout)
    write_peft_folder(path, factors, shape, card=model_card(config), tokenizer=tokenizer)
