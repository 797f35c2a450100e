"""Space `span` at the client: w = w₀ + Σ_k C_k z_k, K coefficients of seeded directions over weights."""

from __future__ import annotations

from collections.abc import Mapping
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from torch import nn

from antiphon.client.adapter import adapter_in, target_linears
from antiphon.client.language_model import LanguageModel
from antiphon.client.zeroth_order.rebuild import WeightsFile, add_directions
from antiphon.core.coefficients import coefficients_of
from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.types import Package, Params
from antiphon.strategies.initial_factors import initial_factors
from antiphon.strategies.seed_space import Directions, directions_of


def span(*, config: RunConfig, model: LanguageModel) -> SpanSpace:
    """Return the client's half of the space, over weights or factors of a base model."""
    along, num_seeds = directions_of(config), config.seeds.num_seeds
    if config.seeds.space == "weights":
        return SpanSpace(target_linears(model, config.seeds.target_modules), num_seeds, along)
    adapter = adapter_in(model, config)
    initial = initial_factors(adapter.shapes, config.seed)
    adapter.write(initial, config.lora.lora_alpha / config.lora.r)
    return SpanSpace(adapter.linears, num_seeds, along)


class SpanSpace:
    """See `space.Space`.

    Memory holds the weights once. The base and the round's global weights wait in files, so that every
    client of a process starts from the same bits without a second copy in memory.
    """

    def __init__(
        self, linears: Mapping[str, nn.Linear], num_seeds: int, directions: Directions
    ) -> None:
        """Span from the weights of `linears`, which are the base now. num_seeds: K."""
        self.linears, self._directions = dict(linears), directions
        self._folder = TemporaryDirectory(prefix="antiphon-weights-")
        self._base = WeightsFile(f"{self._folder.name}/base", self.linears)
        self._global = WeightsFile(f"{self._folder.name}/global", self.linears)
        self._loaded = np.zeros(num_seeds, dtype=np.float32)
        self._moved = False
        self.probabilities: npt.NDArray[np.float64] | None = None

    def load(self, download: Package) -> None:
        """Put w₀ + Σ C_k z_k in place; where those are the weights of the last call, restore them."""
        sent = coefficients_of(download, len(self._loaded))
        coefficients = sent.dense()
        if not np.array_equal(coefficients, self._loaded):
            self._base.restore()
            along = self._directions
            add_directions(
                self.linears,
                coefficients.astype(np.float64),
                kind=along.kind,
                rank=along.rank,
                key=along.key,
            )
            self._global.write()
            self._loaded = coefficients
        elif self._moved:
            self._global.restore()
        self._moved = False
        self.probabilities = _normalised(sent.probabilities)

    def start(self, download: Package) -> None:
        """Put it in place, to be moved."""
        self.load(download)
        self._moved = True

    def delta(self) -> Params:
        """Refuse: of K coefficients, only a walk along their seeds is known."""
        raise UpdateError("space span knows no delta of its weights: choose the form scalars")

    def close(self) -> None:
        """Remove the files of weights."""
        self._folder.cleanup()


def _normalised(sent: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64] | None:
    if sent is None:
        return None
    # float32 on the wire; numpy wants a sum of 1 to float64's precision.
    wide: npt.NDArray[np.float64] = sent.astype(np.float64)
    return wide / wide.sum()
