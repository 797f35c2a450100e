"""What a run trains, as the coordinator knows it: shapes and a start, but no base weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.config import RunConfig
from antiphon.core.directions import run_key
from antiphon.core.peft_folder import AdapterShape, write_peft_folder
from antiphon.core.types import Params
from antiphon.strategies.method import Download
from antiphon.strategies.seed_space import Directions, as_lora, moved


@dataclass(frozen=True)
class Space:
    """The space of a run.

    initial: the adapter's first factors (empty where the seeds move the weights); weights: shape of
    each linear weight that the seeds move, by module (empty otherwise); base_model: what an adapter's
    user gives to transformers, a folder or a hub id; model_parameters: of that model.
    """

    initial: Params
    weights: Mapping[str, tuple[int, int]]
    base_model: str
    model_parameters: int

    @property
    def parameters(self) -> int:
        """How many numbers the run trains."""
        shapes = self.weights.values() or (tensor.shape for tensor in self.initial.values())
        return sum(int(np.prod(shape)) for shape in shapes)


def write_adapter(path: Path, config: RunConfig, space: Space, download: Download) -> None:
    """Write the global model as a folder that PEFT loads; `download` is what a client would receive."""
    scale = config.lora.lora_alpha / config.lora.r
    factors = download
    if isinstance(download, SeedCoefficients):
        directions = config.seeds.directions
        along = Directions(directions.kind, directions.rank, run_key(config.seed))
        if config.trains_weights:
            # The exact factors of a sum of directions count once: PEFT's alpha is their rank.
            scale, factors = 1.0, as_lora(space.weights, download, along)
        else:
            factors = moved(space.initial, download, along)
    assert not isinstance(factors, SeedCoefficients)
    write_peft_folder(
        path, factors, AdapterShape(space.base_model, scale, config.lora.lora_dropout)
    )
