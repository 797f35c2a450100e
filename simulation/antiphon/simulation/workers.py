"""A model that trains for all clients of a simulation: a worker for each way in which they hold it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from antiphon.client.bases.base import chosen
from antiphon.client.data.advice import advice
from antiphon.client.data.clients import ClientData, ClientExamples, encode_client
from antiphon.client.evaluation import HeldOutScores
from antiphon.client.exchanges.exchange import AtSite, Kept
from antiphon.client.language_model import LanguageModel, pick_device
from antiphon.client.secure.masking import MaskingPlace
from antiphon.client.tokenizer_folder import write_tokenizer
from antiphon.client.trainers.trainer import OnStep
from antiphon.client.worker import Worker
from antiphon.core.config import RunConfig
from antiphon.core.json_text import json_text
from antiphon.core.section import Choice
from antiphon.core.types import Assignment, Package, Plain, Update
from antiphon.simulation.fleet import SimulatedFleet
from antiphon.strategies.methods.method import method_of


class Workers:
    """See workforce.Workforce: workers of one run, each with a copy of the model."""

    def __init__(self, config: RunConfig, fleet: SimulatedFleet) -> None:
        """Load a model for each base of the fleet's clients.

        Raises ModelError or ConfigError where the model does not fit the config.
        """
        self._max_length = config.model.max_length
        self._most_examples = method_of(config).most_examples
        self._keys = {
            client: _resolved(config, traits.base or config.model.base)
            for client, traits in fleet.traits.items()
        }
        self._workers: dict[str, Worker] = {}
        try:
            for key in self._keys.values():
                if key not in self._workers:
                    held = Choice.model_validate_json(key)
                    model = config.model.model_copy(update={"base": held})
                    self._workers[key] = Worker(config.model_copy(update={"model": model}))
        except BaseException:
            self.close()
            raise
        self._global: Package | None = None
        self._loaded: set[str] = set()

    @property
    def facts(self) -> dict[str, Plain]:
        """What the run's description says of it."""
        bases = sorted(each.model.base.kind for each in self._workers.values())
        return {"device": str(self._model.device), "base": ", ".join(bases)}

    def encoded(self, client: ClientExamples) -> ClientData:
        """Return a client's examples as tokens. Raises DataError."""
        return encode_client(self._model.tokenizer, client, self._max_length)

    def advice(self, clients: Iterable[ClientData]) -> tuple[str, ...]:
        """Return what is valid in the clients' data and probably not meant, one sentence each."""
        return advice(list(clients), max_length=self._max_length, batch=self._most_examples)

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        write_tokenizer(self._model.tokenizer, folder)

    def train(
        self,
        assignment: Assignment,
        download: Package,
        data: ClientData,
        on_step: OnStep,
        keep: Path,
        place: MaskingPlace | None = None,
    ) -> Update:
        """Carry out one client's assignment; see Worker."""
        self._loaded.discard(self._keys[data.name])
        return self._of(data).train(assignment, download, data, on_step, keep=keep, place=place)

    def answer(
        self,
        exchange: str,
        number: int,
        message: bytes,
        kept: Kept,
        data: ClientData,
        site: AtSite,
    ) -> bytes:
        """Answer what an exchange asks of one client; see Worker."""
        self._loaded.discard(self._keys[data.name])
        return self._of(data).answer(exchange, number, message, kept, data, site)

    def load(self, download: Package) -> None:
        """Take a global model that is to be measured."""
        self._global, self._loaded = download, set()

    def evaluate(self, data: ClientData) -> HeldOutScores:
        """Measure the model that was loaded last on a client's held-out examples, as it holds the base."""
        key = self._keys[data.name]
        if key not in self._loaded and self._global is not None:
            self._workers[key].load(self._global)
            self._loaded.add(key)
        return self._workers[key].evaluate(data)

    def close(self) -> None:
        """Give back files and memory."""
        for each in self._workers.values():
            each.close()

    @property
    def _model(self) -> LanguageModel:
        """That of the first client, by name; tokenizer and device are those of all."""
        return self._workers[self._keys[min(self._keys)]].model

    def _of(self, data: ClientData) -> Worker:
        return self._workers[self._keys[data.name]]


def _resolved(config: RunConfig, wish: Choice) -> str:
    """Return the base that is meant, as JSON; what `auto` finds is no second copy of what others name."""
    held, _ = chosen(wish, pick_device(config.model.device), method_of(config).wants)
    return json_text({"kind": held.kind, **wish.arguments}, sort_keys=True)
