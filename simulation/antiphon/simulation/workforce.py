"""What a simulated run needs of whatever trains for its clients: a model, or what stands for one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from antiphon.client.data.clients import ClientData, ClientExamples
from antiphon.client.evaluation import HeldOutScores
from antiphon.client.exchanges.exchange import AtSite, Kept
from antiphon.client.secure.masking import MaskingPlace
from antiphon.client.trainers.trainer import OnStep
from antiphon.core.types import Assignment, Package, Plain, Update


class Workforce(Protocol):
    """All clients of one run, one after the other in this process. Close it when the run is over."""

    @property
    def facts(self) -> dict[str, Plain]:
        """What the run's description says of it."""
        ...

    def encoded(self, client: ClientExamples) -> ClientData:
        """Return a client's examples as they are trained on. Raises DataError."""
        ...

    def advice(self, clients: Iterable[ClientData]) -> tuple[str, ...]:
        """Return what is valid in the clients' data and probably not meant, one sentence each."""
        ...

    def write_tokenizer(self, folder: Path) -> None:
        """Write what turns text into the model's tokens, where there is any."""
        ...

    def train(
        self,
        assignment: Assignment,
        download: Package,
        data: ClientData,
        on_step: OnStep,
        keep: Path,
        place: MaskingPlace | None = None,
    ) -> Update:
        """Carry out one client's assignment. keep: its folder of the run; place: where it is masked.

        Raises UpdateError.
        """
        ...

    def answer(
        self,
        exchange: str,
        number: int,
        message: bytes,
        kept: Kept,
        data: ClientData,
        site: AtSite,
    ) -> bytes:
        """Answer what an exchange of round `number` asks of one client. Raises UpdateError."""
        ...

    def load(self, download: Package) -> None:
        """Take a global model that is to be measured."""
        ...

    def evaluate(self, data: ClientData) -> HeldOutScores:
        """Measure the model that was loaded last on a client's held-out examples."""
        ...

    def close(self) -> None:
        """Give back files and memory."""
        ...
