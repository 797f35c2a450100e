"""Space `lora` at the client: the factors A and B of PEFT's adapter inside the base model."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from antiphon.client.adapter import Adapter, adapter_in
from antiphon.client.language_model import LanguageModel
from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.types import Package, Params
from antiphon.core.wire import as_tensors


def lora(*, config: RunConfig, model: LanguageModel) -> LoraSpace:
    """Return the client's half of the space, inside a base model."""
    return LoraSpace(adapter_in(model, config), config.lora.lora_alpha)


class LoraSpace:
    """See `space.Space`. A client of a smaller rank receives, trains and sends narrower factors."""

    probabilities = None

    def __init__(self, adapter: Adapter, lora_alpha: float) -> None:
        """Train what `adapter` injected; of rank r, the product counts lora_alpha / r times."""
        self._adapter, self._alpha = adapter, lora_alpha
        self._start: Params = {}

    @property
    def linears(self) -> Mapping[str, nn.Linear]:
        """The factors, each a linear module of PEFT's."""
        return self._adapter.linears

    def load(self, download: Package) -> None:
        """Put global factors in place."""
        factors = as_tensors(download)
        self._adapter.write(factors, self._alpha / _rank(factors))
        self._start = factors

    def start(self, download: Package) -> None:
        """Put global factors in place, to be moved."""
        self.load(download)

    def delta(self) -> Params:
        """Return trained − loaded, in the shapes that were loaded."""
        start, trained = self._start, self._adapter.read()
        return {
            name: trained[name][: start[name].shape[0], : start[name].shape[1]] - start[name]
            for name in start
        }

    def close(self) -> None:
        """Nothing is held."""


def _rank(factors: Params) -> int:
    for name, value in factors.items():
        if ".lora_A." in name:
            return int(value.shape[0])
    raise UpdateError(f"the model is of {sorted(factors)[:3]}, expected LoRA factors")
