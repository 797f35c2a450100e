"""A client before a scripted coordinator, with a trainer that does as it is told."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import structlog
from tests.client.daemon.certificates import Authority
from tests.client.daemon.scripted import CONFIG, RUN, Script, proto, serving
from tests.client.daemon.scripted_trainer import requests

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.consent import Consent
from antiphon.client.daemon.delivery import Delivery
from antiphon.client.daemon.known_runs import KnownRuns
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.outbox import Outbox
from antiphon.client.daemon.session import Session
from antiphon.client.daemon.settings import ClientSettings
from antiphon.client.daemon.settled_configs import SettledConfigs
from antiphon.client.daemon.tasks import Workbench
from antiphon.client.daemon.trainer import TrainerProgram
from antiphon.client.sent.book import Book, sent_folder
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

TRAINER = [sys.executable, str(Path(__file__).with_name("scripted_trainer.py"))]
NOON = datetime(2026, 3, 2, 12, 0)  # a Monday
PATHS = ":".join(sys.path)
OURS = {"dataset": "ours", "format": "text"}


@dataclass
class Stage:
    """A client before a scripted coordinator. now: what its clock says."""

    folder: Path
    script: Script = field(default_factory=Script)
    settings: ClientSettings = field(
        default_factory=lambda: ClientSettings.model_validate({"data": OURS})
    )
    now: datetime = NOON
    patience_s: float = 10.0
    free_bytes: int = 10**12
    command: list[str] = field(default_factory=lambda: TRAINER)
    environment: dict[str, str] = field(default_factory=dict)
    link: Link = field(init=False)
    trainer: TrainerProgram = field(init=False)
    session: Session = field(init=False)
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def trainer_log(self) -> Path:
        """Where the trainer notes its requests."""
        return self.folder / "trainer.log"

    def outbox(self) -> Outbox:
        """Open the client's outbox."""
        return Outbox(self.folder / "outbox")

    def requests(self, what: str) -> list[dict[str, Any]]:
        """What the trainer was asked."""
        return requests(self.trainer_log, what)

    def policy(self, **keys: Any) -> None:
        """Set the owner's policy."""
        self.settings = ClientSettings.model_validate({"data": OURS, "policy": keys})

    def test(self, **keys: Any) -> None:
        """Tell the trainer what to do."""
        self.script.config = {**CONFIG, "test": keys}

    def play(self, body: Callable[[Stage], Awaitable[None]]) -> None:
        """Run a test's body, twenty seconds at most, and stop what it has started."""
        asyncio.run(self._played(body))

    async def _played(self, body: Callable[[Stage], Awaitable[None]]) -> None:
        authority = Authority()
        leaf = authority.client()
        async with asyncio.timeout(20), serving(self.script, authority) as port:
            backoff = Backoff(Random(0), base_s=0.02, cap_s=0.1)
            book = Book(sent_folder(self.folder), time.time)
            self.link = Link(
                lambda: authority.channel(f"127.0.0.1:{port}", leaf, book), backoff, self.metrics
            )
            outbox = self.outbox()
            self._assemble(outbox)
            try:
                await body(self)
            finally:
                await self.trainer.stop()
                await self.link.close()
                book.close()
                outbox.close()

    def _assemble(self, outbox: Outbox) -> None:
        environment = {"SCRIPTED_TRAINER_LOG": str(self.trainer_log), "PYTHONPATH": PATHS}
        environment |= self.environment
        self.trainer = TrainerProgram(
            self.command, log=structlog.get_logger(), environment=environment
        )
        delivery = Delivery(
            self.link,
            outbox,
            self.metrics,
            lambda: f"{self.now:%Y-%m-%d}",
            lambda: self.settings.policy,
            self.patience_s,
        )
        bench = Workbench(
            self.link,
            self.trainer,
            outbox,
            delivery,
            self.metrics,
            self.folder / "work",
            lambda: self.now,
            lambda folder: self.free_bytes,
        )
        self.session = Session(
            "edge",
            self.link,
            self.trainer,
            outbox,
            delivery,
            bench,
            self.metrics,
            Consent(self.folder, lambda: self.settings.policy),
            KnownRuns(self.folder),
            SettledConfigs(self.folder),
            settings=lambda: self.settings,
            now=lambda: self.now,
            rng=Random(0),
        )


def train_task(script: Script, number: int = 1, **keys: Any) -> pb.NextTaskResponse:
    """An assignment to train in a round."""
    model = script.model(b"model %d " % number * 1000)
    known: dict[str, Any] = {"method": "lora", "steps": 4, "model": proto(model)} | keys
    assignment = update_pb2.Assignment(run_id=RUN, round=number, **known)
    return pb.NextTaskResponse(
        train=pb.TrainTask(assignment=assignment.SerializeToString(), deadline_ms=60_000)
    )


def evaluate_task(script: Script, number: int = 1) -> pb.NextTaskResponse:
    """A model to measure."""
    model = proto(script.model(b"model"))
    return pb.NextTaskResponse(evaluate=pb.EvaluateTask(round=number, model=model))


def over(complete: bool = True) -> pb.NextTaskResponse:
    """The end of the run."""
    return pb.NextTaskResponse(over=pb.RunOver(complete=complete, reason="all rounds are done"))


async def run_to_the_end(stage: Stage) -> None:
    """Take part until the run is over."""
    assert (await stage.session.run()).complete
