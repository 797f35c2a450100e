"""What a run trains, as the coordinator knows it: shapes and a start, but no base weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.coefficients import Download, SeedCoefficients
from antiphon.core.config import RunConfig
from antiphon.core.peft_folder import AdapterShape, write_peft_folder
from antiphon.core.types import Params
from antiphon.server.folding.model_card import model_card
from antiphon.strategies.initial_factors import initial_factors
from antiphon.strategies.seed_space import as_lora, directions_of, moved

Shape = tuple[int, int]


@dataclass(frozen=True)
class Space:
    """The space of a run.

    factors: shape of each of the adapter's factors (empty where the seeds move the weights); weights: shape
    of each linear weight that the seeds move, by module (empty otherwise); base_model: what an adapter's
    user gives to transformers, a folder or a hub id; model_parameters: of that model; model_digest: hex
    SHA-256 over its weights, empty where nobody has to agree on it.
    """

    factors: Mapping[str, Shape]
    weights: Mapping[str, Shape]
    base_model: str
    model_parameters: int
    model_digest: str = ""

    @property
    def parameters(self) -> int:
        """How many numbers the run trains."""
        return sum(
            rows * columns for rows, columns in (*self.factors.values(), *self.weights.values())
        )

    def initial(self, seed: int) -> Params:
        """Return the adapter before the first round; nothing where the seeds move the weights."""
        return initial_factors(self.factors, seed)


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
        if config.trains_weights:
            # The exact factors of a sum of directions count once: PEFT's alpha is their rank.
            scale, factors = 1.0, as_lora(space.weights, download, along)
        else:
            factors = moved(space.initial(config.seed), download, along)
    assert not isinstance(factors, SeedCoefficients)
    shape = AdapterShape(space.base_model, scale, config.lora.lora_dropout)
    write_peft_folder(path, factors, shape, card=model_card(config), tokenizer=tokenizer)
