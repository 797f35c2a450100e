"""A session takes part in a run as the coordinator and the site's owner say."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
import structlog
from tests.client.daemon.certificates import Authority
from tests.client.daemon.scripted import CONFIG, RUN, SUBMIT, Failure, Script, proto, serving
from tests.client.daemon.scripted_trainer import requests

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.calls import StartOver
from antiphon.client.daemon.delivery import Delivery
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.open_run import Declined
from antiphon.client.daemon.outbox import Outbox
from antiphon.client.daemon.session import Session
from antiphon.client.daemon.settings import ClientSettings, LocalData
from antiphon.client.daemon.tasks import Workbench
from antiphon.client.daemon.trainer import Trainer
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

TRAINER = [sys.executable, str(Path(__file__).with_name("scripted_trainer.py"))]
NOON = datetime(2026, 3, 2, 12, 0)  # a Monday


@dataclass
class Stage:
    """A client before a scripted coordinator. now: what its clock says."""

    folder: Path
    script: Script = field(default_factory=Script)
    settings: ClientSettings = field(
        default_factory=lambda: ClientSettings(data=LocalData(dataset="ours"))
    )
    now: datetime = NOON
    patience_s: float = 10.0
    link: Link = field(init=False)
    trainer: Trainer = field(init=False)
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
        self.settings = ClientSettings.model_validate({"data": {"dataset": "ours"}, "policy": keys})

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
            self.link = Link(
                lambda: authority.channel(f"127.0.0.1:{port}", leaf), backoff, self.metrics
            )
            outbox = self.outbox()
            self._assemble(outbox)
            try:
                await body(self)
            finally:
                await self.trainer.stop()
                await self.link.close()
                outbox.close()

    def _assemble(self, outbox: Outbox) -> None:
        environment = {"SCRIPTED_TRAINER_LOG": str(self.trainer_log), "PYTHONPATH": PATHS}
        self.trainer = Trainer(TRAINER, log=structlog.get_logger(), environment=environment)
        delivery = Delivery(
            self.link, outbox, self.metrics, lambda: f"{self.now:%Y-%m-%d}", self.patience_s
        )
        bench = Workbench(
            self.link,
            self.trainer,
            outbox,
            delivery,
            self.metrics,
            self.folder / "work",
            lambda: self.now,
        )
        self.session = Session(
            "edge",
            self.link,
            self.trainer,
            outbox,
            delivery,
            bench,
            self.metrics,
            settings=lambda: self.settings,
            now=lambda: self.now,
            rng=Random(0),
        )


PATHS = ":".join(sys.path)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A client of its own for each test."""
    return Stage(tmp_path)


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


def test_rounds_and_evaluations_to_the_end(stage: Stage) -> None:
    """Two rounds with an evaluation each are trained, uploaded, handed in and measured."""
    for number in (1, 2):
        stage.script.give(train_task(stage.script, number))
        stage.script.give(evaluate_task(stage.script, number))
    stage.script.give(over())

    stage.play(run_to_the_end)

    rounds = [update_pb2.Update.FromString(update).round for update in stage.script.updates]
    measured = [(each.round, each.examples) for each in stage.script.seen("SubmitEvaluation")]
    assert (rounds, measured) == ([1, 2], [(1, 20), (2, 20)])
    assert stage.outbox().entries() == []


def test_trainer_gets_this_sites_data(stage: Stage) -> None:
    """The trainer is prepared with the coordinator's config and the site's own data."""
    stage.script.give(over())

    stage.play(run_to_the_end)

    (asked,) = stage.requests("prepare")
    assert (asked["client"], asked["data"]) == ("edge", {"dataset": "ours"})
    assert asked["config"] == CONFIG


def test_scalars_need_no_upload(stage: Stage) -> None:
    """An update without a blob is handed in in one call."""
    stage.test(blob_bytes=0)
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert len(stage.script.updates) == 1
    assert stage.script.seen("UploadStatus") == []


def test_training_is_given_the_time_that_is_left(stage: Stage) -> None:
    """The trainer's time is the round's, less what the transfers need."""
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (asked,) = stage.requests("train")
    assert 50 < asked["seconds"] < 59.5


def test_model_is_fetched_once(stage: Stage) -> None:
    """A model that the last task had is not downloaded again, and an old one does not stay."""
    first, second = train_task(stage.script, 1), train_task(stage.script, 2)
    for task in (
        first,
        evaluate_task(stage.script),
        evaluate_task(stage.script, 2),
        second,
        over(),
    ):
        stage.script.give(task)

    stage.play(run_to_the_end)

    assert len(stage.script.seen("Download")) == 3
    assert len(list((stage.folder / "work" / "models").iterdir())) == 1


def test_lease_is_kept_while_training(stage: Stage) -> None:
    """A task that takes longer than the lease is said to be in hand, with the steps done."""
    stage.script.lease_ms = 300
    stage.test(steps=8, step_s=0.1)
    stage.script.give(train_task(stage.script, 7))
    stage.script.give(over())

    stage.play(run_to_the_end)

    busy = [each for each in stage.script.seen("NextTask") if each.working_on_round == 7]
    assert len(busy) >= 4
    assert max(each.steps_done for each in busy) >= 4


def test_cancelled_task_is_given_up(stage: Stage) -> None:
    """A task that the coordinator takes back ends in mid-training, and the next one is done."""
    stage.test(steps=100, step_s=0.05)
    stage.script.cancelled[1] = "the round has closed"
    for task in (train_task(stage.script, 1), evaluate_task(stage.script), over()):
        stage.script.give(task)

    stage.play(run_to_the_end)

    assert (stage.script.updates, len(stage.script.seen("SubmitEvaluation"))) == ([], 1)


def test_failed_training_is_reported(stage: Stage) -> None:
    """What the trainer cannot do is told to the coordinator, with the reason."""
    stage.test(fail="train")
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (report,) = stage.script.seen("ReportFailure")
    assert (report.round, report.evaluating, report.reason) == (1, False, "as the test asked")


def test_failed_evaluation_is_reported(stage: Stage) -> None:
    """A model that cannot be measured is told to the coordinator as such."""
    stage.test(fail="evaluate")
    stage.script.give(evaluate_task(stage.script, 0))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (report,) = stage.script.seen("ReportFailure")
    assert (report.round, report.evaluating) == (0, True)


def test_same_bytes_are_sent_until_they_are_answered(stage: Stage) -> None:
    """A reply that is lost costs a second sending of the same message, not a second training."""
    stage.script.failures["SubmitUpdate"].append(Failure(grpc.StatusCode.UNAVAILABLE))
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    sent = [each.update for each in stage.script.seen("SubmitUpdate")]
    assert (len(sent), len(set(sent)), len(stage.requests("train"))) == (3, 1, 1)


@pytest.mark.parametrize("verdict", ["DUPLICATE", "LATE", "REJECTED", "UNKNOWN"])
def test_any_final_answer_empties_the_outbox(stage: Stage, verdict: str) -> None:
    """Every verdict but UPLOAD_FIRST is final: the update is forgotten."""
    stage.script.verdicts.append(SUBMIT.Verdict.Value(verdict))
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert stage.outbox().entries() == []
    assert len(stage.script.seen("SubmitUpdate")) == 1


def test_update_survives_a_restart(stage: Stage) -> None:
    """An update whose answer never came is sent first by the next session, untrained."""
    stage.script.failures["SubmitUpdate"].append(Failure(grpc.StatusCode.UNAUTHENTICATED))
    stage.script.give(train_task(stage.script))

    async def refused(stage: Stage) -> None:
        with pytest.raises(Exception, match="as the test asked"):
            await stage.session.run()

    stage.play(refused)
    stage.script.news, stage.script.calls = asyncio.Event(), []
    stage.script.give(over())
    stage.play(run_to_the_end)

    order = [name for name, _ in stage.script.calls]
    assert order.index("SubmitUpdate") < order.index("Join")
    assert (len(stage.script.updates), len(stage.requests("train"))) == (1, 1)


def test_offer_of_an_answered_round_is_not_trained_again(stage: Stage) -> None:
    """A coordinator that is slow to take a task back does not make its client work twice."""
    task = train_task(stage.script)
    stage.script.give(task)
    stage.script.give(task)

    async def body(stage: Stage) -> None:
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: len(stage.script.seen("NextTask")) > 3)
        stage.script.cancelled[1] = "its update is there"
        stage.script.give(over())
        await running

    stage.play(body)

    assert len(stage.requests("train")) == 1


def test_policy_declines_a_run(stage: Stage) -> None:
    """A run that the owner does not allow is not joined, and its model not loaded."""
    stage.policy(methods=["seeds"])

    async def body(stage: Stage) -> None:
        with pytest.raises(Declined, match="methods seeds, not lora"):
            await stage.session.run()

    stage.play(body)

    assert (stage.script.seen("Join"), stage.requests("prepare")) == ([], [])


def test_policy_declines_a_task(stage: Stage) -> None:
    """A task that asks for more steps than the owner allows is reported, not done."""
    stage.policy(max_steps=5)
    stage.script.give(train_task(stage.script, steps=6))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (report,) = stage.script.seen("ReportFailure")
    assert "5 steps in a round, not 6" in report.reason
    assert stage.requests("train") == []


def test_update_that_is_too_large_stays(stage: Stage) -> None:
    """An update above the owner's limit is not sent, and does not wait in the outbox."""
    stage.policy(max_upload_mb_per_round=0.1)
    stage.test(blob_bytes=100_001)
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (report,) = stage.script.seen("ReportFailure")
    assert "0.1 MB leave in a round" in report.reason
    assert (stage.script.seen("SubmitUpdate"), stage.outbox().entries()) == ([], [])


def test_bytes_of_the_day_are_counted(stage: Stage) -> None:
    """What left the machine counts against the day's limit, and the next round is declined."""
    stage.policy(max_upload_mb_per_day=0.15)
    stage.test(blob_bytes=100_000)
    for number in (1, 2):
        stage.script.give(train_task(stage.script, number))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert stage.outbox().sent_on("2026-03-02") == 100_000
    assert "0.15 MB leave in a day" in stage.script.seen("ReportFailure")[0].reason


def test_hours_end_the_membership(stage: Stage) -> None:
    """When the owner's hours are over, the session ends with the reason."""
    stage.policy(hours="08:00-18:00")

    async def body(stage: Stage) -> None:
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: stage.script.seen("NextTask"))
        stage.now = datetime(2026, 3, 2, 18, 0)
        with pytest.raises(Declined, match="08:00-18:00"):
            await running

    stage.script.lease_ms = 200
    stage.play(body)


def test_trainer_is_put_away_when_idle(stage: Stage) -> None:
    """Without a task for keep_warm_s the trainer's process ends; the next task starts another."""
    stage.settings = stage.settings.model_copy(update={"keep_warm_s": 0.2})

    async def body(stage: Stage) -> None:
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: len(stage.script.seen("NextTask")) >= 2)
        while stage.trainer.running:
            await stage.script.until(lambda: stage.script.news.is_set())
            stage.script.news.clear()
        stage.script.give(train_task(stage.script))
        stage.script.give(over())
        await running

    stage.script.lease_ms = 200
    stage.play(body)

    assert (len(stage.requests("prepare")), len(stage.script.updates)) == (2, 1)


def test_other_run_starts_over(stage: Stage) -> None:
    """A run that has changed under the session ends it, so that it begins with Hello again."""
    stage.script.failures["NextTask"].append(Failure(grpc.StatusCode.FAILED_PRECONDITION))

    async def body(stage: Stage) -> None:
        with pytest.raises(StartOver):
            await stage.session.run()

    stage.play(body)


def test_no_run_is_waited_for(stage: Stage) -> None:
    """While no run is open, the session asks again; then it takes part."""
    stage.script.run_id = ""

    async def body(stage: Stage) -> None:
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: len(stage.script.seen("Hello")) >= 3)
        stage.script.run_id = RUN
        stage.script.give(over())
        finished = await running

        assert finished.run_id == RUN

    stage.play(body)


def test_hopeless_run_is_not_loaded_again(stage: Stage) -> None:
    """A run that the trainer cannot load for good is declined from then on without another try."""
    stage.test(fail="prepare!")

    async def body(stage: Stage) -> None:
        for _ in range(2):
            with pytest.raises(Declined, match="as the test asked"):
                await stage.session.run()

    stage.play(body)

    assert len(stage.requests("prepare")) == 1


def test_model_is_checked_again_after_a_restart(stage: Stage) -> None:
    """A model on the disk counts after a restart only if it still has its hash."""
    for _ in range(2):
        stage.script.give(evaluate_task(stage.script))
        stage.script.give(over())
        stage.play(run_to_the_end)
        (model,) = (stage.folder / "work" / "models").iterdir()
        model.write_bytes(b"wrong")
        stage.script.news = asyncio.Event()

    assert [request.offset for request in stage.script.seen("Download")] == [0, 0]


def test_update_without_an_answer_does_not_stop_the_client(stage: Stage) -> None:
    """A coordinator that fails on an update gets it again later; meanwhile other work is done."""
    stage.patience_s = 0.3
    stage.script.failures["SubmitUpdate"].extend([Failure(grpc.StatusCode.UNKNOWN)] * 1000)

    async def body(stage: Stage) -> None:
        stage.script.give(train_task(stage.script))
        stage.script.give(evaluate_task(stage.script))
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: stage.script.seen("SubmitEvaluation"))
        stage.script.failures.clear()
        await stage.script.until(lambda: stage.script.updates)
        stage.script.give(over())
        await running

    stage.play(body)

    assert len(stage.requests("train")) == 1
    assert stage.outbox().entries() == []
