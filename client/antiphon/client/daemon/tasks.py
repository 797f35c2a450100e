"""One task of a run: its model fetched, the work done by the trainer, the result handed in."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import grpc
import structlog
from google.protobuf.message import DecodeError

from antiphon.client.daemon.calls import CallRefused
from antiphon.client.daemon.delivery import UNANSWERED, Delivery, Withheld
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.model_files import ModelFiles, NamedModel, named_model
from antiphon.client.daemon.open_run import OpenRun
from antiphon.client.daemon.outbox import Outbox, Queued
from antiphon.client.daemon.policy import (
    SitePolicy,
    TaskTerms,
    permits,
    rows_refused,
    upload_refused,
)
from antiphon.client.daemon.room import FreeBytes, free_bytes
from antiphon.client.daemon.settings import ClientSettings
from antiphon.client.daemon.task_failed import TaskFailed
from antiphon.client.daemon.tell import NOT_TOLD, Tell, told_examples, told_update
from antiphon.client.daemon.trainer import TrainerFailed, TrainerProgram
from antiphon.client.daemon.transfers import named_blob
from antiphon.client.daemon.work import Work
from antiphon.client.trainer_protocol import Evaluate, Respond, Responded, Stepped, Train, Trained
from antiphon.core.errors import RunFolderError
from antiphon.core.files import write_bytes
from antiphon.core.limits import MOST_ANSWER_BYTES
from antiphon.core.refusals import Refusal
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

log = structlog.get_logger()

_CAUTION = 1.5  # an upload may take as many times what the measured rate promises
_UPLINK_SHARE = 0.25  # of the downlink, where no upload has been measured yet
_MOST_FOR_UPLOAD = 0.5  # of the time left
_LEAST_SUMMED = 3  # of two each could subtract its own
_MOST_STEPS = (1 << 32) - 1  # that a message can say


@dataclass
class ClientTask:
    """A task of a run. until: loop time at which its round closes, none: never; exchange, question: of a
    task that is neither to train nor to measure; named: what is to be measured.
    """

    run: OpenRun
    round: int
    evaluating: bool
    until: float | None
    message: bytes = b""
    named: pb.EvaluateTask = field(default_factory=pb.EvaluateTask)
    steps_done: int = 0
    exchange: str = ""
    question: bytes = b""

    @property
    def kind(self) -> str:
        """`train`, `evaluate` or `respond`."""
        if self.exchange:
            return "respond"
        return "evaluate" if self.evaluating else "train"


def in_hand(run: OpenRun, response: pb.NextTaskResponse, arrived: float) -> ClientTask:
    """Read a task that came at loop time `arrived`. Raises Refused where it cannot be read."""
    if response.WhichOneof("task") == "exchange":
        asked = response.exchange
        until = arrived + asked.deadline_ms / 1000 if asked.deadline_ms else None
        if not asked.exchange:
            raise CallRefused("an exchange without a name", grpc.StatusCode.INVALID_ARGUMENT)
        return ClientTask(
            run, asked.round, False, until, exchange=asked.exchange, question=asked.question
        )
    evaluating = response.WhichOneof("task") == "evaluate"
    task = response.evaluate if evaluating else response.train
    until = arrived + task.deadline_ms / 1000 if task.deadline_ms else None
    if evaluating:
        return ClientTask(run, response.evaluate.round, True, until, named=response.evaluate)
    message = response.train.assignment
    try:
        number = update_pb2.Assignment.FromString(message).round
    except DecodeError:
        raise CallRefused(
            "an assignment that cannot be read", grpc.StatusCode.INVALID_ARGUMENT
        ) from None
    return ClientTask(run, number, False, until, message)


class Workbench:
    """Where tasks are done. folder: for models and results on their way."""

    def __init__(
        self,
        link: Link,
        trainer: TrainerProgram,
        outbox: Outbox,
        delivery: Delivery,
        metrics: Metrics,
        folder: Path,
        now: Callable[[], datetime],
        free: FreeBytes = free_bytes,
        voice: Callable[[str, int], Mapping[str, str]] | None = None,
    ) -> None:
        """now: the local time; free: bytes of a folder's disk; voice(run, round) → with what the trainer
        speaks for this site, none: it does not.
        """
        self._voice = voice
        self._link, self._trainer, self._outbox = link, trainer, outbox
        self._delivery, self._metrics, self._now = delivery, metrics, now
        folder = folder.absolute()  # the trainer works in a folder of its own
        self._out, self._kept = folder / "out", folder / "kept"
        self._rounds = folder / "rounds"
        shutil.rmtree(self._out, ignore_errors=True)  # of a process that was killed
        self._models = ModelFiles(link, trainer, folder / "models", free)

    async def train(self, task: ClientTask, settings: ClientSettings) -> bool:
        """Carry out an assignment and hand in the update; return whether it has its answer.

        Raises TaskFailed, StartOver, NotAllowed.
        """
        policy = settings.policy
        assignment = update_pb2.Assignment.FromString(task.message)
        named = _checked(assignment, task.run)
        work = replace(task.run.work_of(assignment.method), steps=assignment.steps)
        self._permitted(task.run, policy, work, _expected_bytes(assignment))
        files = await self._files(task.run, named, settings)
        trained = await self._trained(task, files, _expected_bytes(assignment))
        entry, content = _entry(task, trained, settings.tell)
        size = entry.blob.bytes if entry.blob else len(entry.message)
        # Fewer steps than asked for, where the time was short, make each example count for more.
        taken = replace(work, steps=trained.steps)
        self._permitted(task.run, policy, taken, size, begun=True)
        if size > task.run.max_upload_bytes > 0:
            raise TaskFailed(
                f"the update has {size} bytes, the coordinator takes {task.run.max_upload_bytes}",
                Refusal.UPDATE_TOO_LARGE,
            )
        try:
            await asyncio.to_thread(self._outbox.add, entry, content)
        except RunFolderError as error:
            raise TaskFailed(str(error), Refusal.DISK) from None
        self._delivery.keep()
        try:
            return await self._delivery.hand_in(entry) != UNANSWERED
        except Withheld as withheld:
            raise TaskFailed(str(withheld), withheld.code) from None

    async def evaluate(self, task: ClientTask, settings: ClientSettings) -> None:
        """Measure a model and hand in the figures, or say at once that there are none.

        Raises TaskFailed, StartOver, NotAllowed.
        """
        tell = settings.tell
        if not tell.scores:
            await self._link.submit_evaluation(task.run.run_id, task.round, NOT_TOLD, {})
            return
        named = _read(task.named)
        model, *frames = await self._files(task.run, named, settings)
        try:
            done = await self._trainer.evaluate(
                Evaluate(str(model), named.model.encoding, *map(str, frames))
            )
            await self._link.submit_evaluation(
                task.run.run_id, task.round, told_examples(tell, done.examples), done.metrics
            )
        except TrainerFailed as error:
            raise TaskFailed(str(error), error.code) from None
        except CallRefused as error:
            raise TaskFailed(str(error)) from None
        log.info("evaluated", round=task.round, examples=done.examples)

    async def respond(self, task: ClientTask, settings: ClientSettings) -> None:
        """Answer an exchange of a round and hand the answer in.

        Raises TaskFailed, StartOver, NotAllowed.
        """
        run_id = task.run.run_id
        drawn = [each for each in task.run.exchanges if each.method == task.exchange]
        for reason in rows_refused(settings.policy, drawn, task.run.examples):
            raise TaskFailed(reason.text, reason.code)
        self._never_again(task)
        question = self._fresh_out() / "question"
        question.write_bytes(task.question)
        request = Respond(
            task.round,
            task.exchange,
            str(question),
            str(self._out),
            str(self._keep(run_id)),
            run_id,
            self._voice(run_id, task.round) if self._voice else None,
            max(settings.policy.min_cohort or 0, _LEAST_SUMMED),
        )
        try:
            answer = _content_of(await self._trainer.respond(request))
        except TrainerFailed as error:
            raise TaskFailed(str(error), error.code) from None
        self._allow_answer(settings.policy, len(answer))
        try:
            response = await self._link.submit_answer(run_id, task.round, task.exchange, answer)
        except CallRefused as error:
            raise TaskFailed(str(error)) from None
        log.info(
            "answer handed in", round=task.round, exchange=task.exchange,
            verdict=response.verdict, reason=response.reason,
        )  # fmt: skip

    def _never_again(self, task: ClientTask) -> None:
        """Raise TaskFailed for a round before one that was answered in its run, whatever came since.

        A round that is run twice, with one client less, tells what that client did.
        """
        file = self._rounds / _short(task.run.run_id)
        newest = int(file.read_text()) if file.is_file() else 0
        if task.round < newest:
            raise TaskFailed(
                f"an exchange of round {task.round}, after one of round {newest}",
                Refusal.TASK_UNEXPECTED,
            )
        if task.round > newest:
            self._rounds.mkdir(parents=True, exist_ok=True)
            write_bytes(file, str(task.round).encode())

    def _allow_answer(self, policy: SitePolicy, size: int) -> None:
        """Count an answer among what leaves the site today, or raise TaskFailed where it may not leave."""
        if size > MOST_ANSWER_BYTES:
            raise TaskFailed(
                f"the answer has {size} bytes, expected {MOST_ANSWER_BYTES} at most",
                Refusal.UPDATE_TOO_LARGE,
            )
        today = self._now().date().isoformat()
        for reason in upload_refused(policy, size, size, self._outbox.sent_on(today)):
            raise TaskFailed(reason.text, reason.code)
        self._outbox.note_sent(today, size)

    def _fresh_out(self) -> Path:
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir(parents=True)
        return self._out

    async def _trained(self, task: ClientTask, files: Sequence[Path], upload_bytes: int) -> Trained:
        run_id, (model, *frames) = task.run.run_id, files
        assignment = self._fresh_out() / "assignment"
        assignment.write_bytes(task.message)
        seconds = self._seconds(task, upload_bytes)

        def stepped(step: Stepped) -> None:
            task.steps_done = min(step.step, _MOST_STEPS)
            log.debug("step", round=task.round, step=step.step, of=step.of, loss=step.loss)

        start = asyncio.get_running_loop().time()
        try:
            trained = await self._trainer.train(
                Train(
                    str(assignment),
                    str(model),
                    str(self._out),
                    str(self._keep(run_id)),
                    seconds,
                    *map(str, frames),
                ),
                stepped,
            )
        except TrainerFailed as error:
            raise TaskFailed(str(error), error.code) from None
        took = asyncio.get_running_loop().time() - start
        self._metrics.training.inc(took)
        log.info("trained", round=task.round, steps=trained.steps, seconds=round(took, 2))
        return trained

    def _keep(self, run_id: str) -> Path:
        """Return the folder of what the trainer keeps of a run; that of any other run is removed."""
        folder = self._kept / _short(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        for other in self._kept.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        return folder

    async def _files(self, run: OpenRun, named: NamedModel, settings: ClientSettings) -> list[Path]:
        return await self._models.of(run, named, settings.free_disk_floor_mb, self._fresh_out())

    def _seconds(self, task: ClientTask, upload_bytes: int) -> float | None:
        """Return the time that training may take, so that the update is in before the round closes."""
        if task.until is None:
            return None
        left = task.until - asyncio.get_running_loop().time()
        if left <= 0:
            raise TaskFailed(
                "the round's time was over before its model had arrived", Refusal.TASK_TOO_LATE
            )
        return left - min(self._upload_s(upload_bytes), _MOST_FOR_UPLOAD * left)

    def _upload_s(self, size: int) -> float:
        down = self._link.down_bytes_per_s
        rate = self._link.up_bytes_per_s or (down and _UPLINK_SHARE * down)
        return 1.0 + (_CAUTION * size / rate if rate else 0.0)

    def _permitted(
        self,
        run: OpenRun,
        policy: SitePolicy,
        work: Work,
        size: int,
        *,
        begun: bool = False,
    ) -> None:
        """Raise TaskFailed where the owner forbids it; begun: the hours do not count any more."""
        now = self._now()
        terms = TaskTerms(
            method=work.method,
            model=run.model,
            min_cohort=run.min_cohort,
            works=(work,),
            examples=run.examples,
            upload_bytes=size,
            uploaded_today=self._outbox.sent_on(now.date().isoformat()),
        )
        if begun:
            policy = policy.model_copy(update={"hours": [], "days": []})
        if reasons := permits(policy, terms, now):
            raise TaskFailed("; ".join(each.text for each in reasons), reasons[0].code)


def _checked(assignment: update_pb2.Assignment, run: OpenRun) -> NamedModel:
    if assignment.run_id != run.run_id:
        raise TaskFailed(
            f"an assignment of the run {assignment.run_id[:64]!r}, not {run.run_id!r}",
            Refusal.TASK_UNEXPECTED,
        )
    if assignment.method not in run.methods:
        wanted = " or ".join(run.methods)
        raise TaskFailed(
            f"an assignment of method {assignment.method[:16]!r}, expected {wanted}",
            Refusal.TASK_UNEXPECTED,
        )
    return _read(assignment)


def _read(message: update_pb2.Assignment | pb.EvaluateTask) -> NamedModel:
    try:
        return named_model(message)
    except CallRefused as error:
        raise TaskFailed(str(error), Refusal.TASK_UNREADABLE) from None


def _short(run_id: str) -> str:
    """Return a run's name as that of a file."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:16]


def _content_of(responded: Responded) -> bytes:
    try:
        return Path(responded.answer).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that is none
        raise TaskFailed(f"the trainer's answer cannot be read: {error}") from None


def _expected_bytes(assignment: update_pb2.Assignment) -> int:
    """Return about how many bytes the update will have, as the coordinator says."""
    return int(assignment.upload_bytes)


def _entry(task: ClientTask, trained: Trained, tell: Tell) -> tuple[Queued, Path | None]:
    """Read what the trainer has written as it may leave, and compare it with what was asked for."""
    try:
        message = told_update(tell, Path(trained.update).read_bytes())
        update = update_pb2.Update.FromString(message)
        content = Path(trained.blob) if trained.blob is not None else None
        blob = named_blob(update.tensors) if update.HasField("tensors") else None
        size = content.stat().st_size if content is not None else None
    except (OSError, ValueError, DecodeError, CallRefused) as error:
        # ValueError: a path that is none
        raise TaskFailed(f"the trainer's result cannot be read: {error}") from None
    if (update.run_id, update.round) != (task.run.run_id, task.round):
        raise TaskFailed(f"the trainer's result is of round {update.round}, not {task.round}")
    if size != (blob.bytes if blob else None):
        raise TaskFailed(f"the trainer's result names {blob}, its file has {size} bytes")
    return Queued(task.run.run_id, task.round, message, blob), content
