"""A site in one process: real session, link, delivery and data pipeline, no sockets and no model.

What it sends is kept as bytes where a channel would have taken it. The trainer is answered by the worker
process's own functions; only the model is made up.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import grpc
import structlog
from tests.client.daemon.leak_cases import Case
from tests.work_asked import asks, work_asked

from antiphon.client import worker_process
from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.calls import CallFailed
from antiphon.client.daemon.consent import Consent
from antiphon.client.daemon.delivery import Delivery
from antiphon.client.daemon.known_runs import KnownRuns
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.open_run import Declined
from antiphon.client.daemon.outbox import Outbox
from antiphon.client.daemon.session import Session
from antiphon.client.daemon.settings import ClientSettings
from antiphon.client.daemon.settled_configs import SettledConfigs
from antiphon.client.daemon.tasks import Workbench
from antiphon.client.daemon.trainer import TrainerProgram, _Died
from antiphon.client.data.local import load_local
from antiphon.client.site_config import site_config
from antiphon.client.trainer_protocol import (
    Evaluate,
    Evaluated,
    Prepare,
    Prepared,
    Request,
    Respond,
    Responded,
    Response,
    Stepped,
    Train,
    Trained,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from antiphon.core.blob import Blob, blob_of
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

RUN = "run-1"
NOON = datetime(2026, 3, 2, 12, 0)
_MODEL = b"model" * 10
_UPDATE = b"update" * 10
_SUBMIT = pb.SubmitUpdateResponse


@dataclass
class Sent:
    """What has left the site: the serialised messages, by method; told: codes and verdicts, for a count."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)


@dataclass
class Coordinator:
    """Answers as the case says; stands where a channel would be."""

    case: Case
    sent: Sent
    tasks: deque[pb.NextTaskResponse] = field(default_factory=deque)
    uploaded: bool = False

    def unary_unary(self, path: str, request_serializer: Any, **named: Any) -> Callable[..., Any]:
        """Return one method of the stub."""
        method = path.rpartition("/")[2]
        answer = getattr(self, f"_{method.lower()}")

        async def call(request: Any, **options: Any) -> Any:
            self.sent.messages.append((method, request_serializer(request)))
            return await answer(request)

        return call

    def unary_stream(self, path: str, request_serializer: Any, **named: Any) -> Callable[..., Any]:
        """Return the download."""

        def call(request: Any, **options: Any) -> Any:
            self.sent.messages.append(("Download", request_serializer(request)))
            return _Stream(deque([pb.DownloadChunk(content=_MODEL[request.offset :])]))

        return call

    def stream_unary(self, path: str, request_serializer: Any, **named: Any) -> Callable[..., Any]:
        """Return the upload."""
        return lambda **options: _Upload(self, request_serializer)

    def get_state(self) -> grpc.ChannelConnectivity:
        """It is always there."""
        return grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        """Nothing is held."""

    async def _hello(self, request: Any) -> pb.HelloResponse:
        digest = hashlib.sha256(self.case.config).hexdigest()
        return pb.HelloResponse(
            run_id=RUN,
            config=self.case.config,
            config_hash=digest,
            min_cohort=2,
            max_upload_bytes=1 << 30,
            asks=_asks(self.case.config),
        )

    async def _join(self, request: Any) -> pb.JoinResponse:
        self.tasks.extend(_task(n, self.case) for n in range(len(self.case.tasks)))
        return pb.JoinResponse(lease_ms=10_000)

    async def _nexttask(self, request: Any) -> pb.NextTaskResponse:
        if request.working_on_round or request.evaluating:
            await asyncio.Event().wait()
        if self.tasks:
            return self.tasks.popleft()
        return pb.NextTaskResponse(over=pb.RunOver(complete=True))

    async def _submitupdate(self, request: Any) -> pb.SubmitUpdateResponse:
        arrived, self.uploaded = self.uploaded, False
        return _SUBMIT(verdict=_SUBMIT.ACCEPTED if arrived else _SUBMIT.UPLOAD_FIRST)

    async def _submitanswer(self, request: Any) -> pb.SubmitUpdateResponse:
        return _SUBMIT(verdict=_SUBMIT.ACCEPTED)

    async def _uploadstatus(self, request: Any) -> pb.UploadStatusResponse:
        return pb.UploadStatusResponse(offset=0)

    async def _submitevaluation(self, request: Any) -> pb.SubmitEvaluationResponse:
        return pb.SubmitEvaluationResponse(accepted=True)

    async def _reportfailure(self, request: Any) -> pb.ReportFailureResponse:
        self.sent.codes.append(request.code)
        return pb.ReportFailureResponse()

    async def _leave(self, request: Any) -> pb.LeaveResponse:
        self.sent.codes.extend(request.codes)
        return pb.LeaveResponse()

    async def _renew(self, request: Any) -> Any:
        raise AssertionError("no certificate ends here")


@dataclass
class _Stream:
    chunks: deque[pb.DownloadChunk]

    async def read(self) -> Any:
        return self.chunks.popleft() if self.chunks else grpc.aio.EOF

    def cancel(self) -> None:
        pass


@dataclass
class _Upload:
    coordinator: Coordinator
    serialised: Callable[[Any], bytes]

    async def write(self, message: Any) -> None:
        self.coordinator.sent.messages.append(("Upload", self.serialised(message)))

    def done(self) -> bool:
        return False

    async def done_writing(self) -> None:
        self.coordinator.uploaded = True

    def __await__(self) -> Any:
        return self._answer().__await__()

    async def _answer(self) -> pb.UploadStatusResponse:
        return pb.UploadStatusResponse(offset=len(_UPDATE))

    def cancel(self) -> None:
        pass


def _task(number: int, case: Case) -> pb.NextTaskResponse:
    kind = case.tasks[number]
    blob = _message(blob_of(_MODEL, "safetensors"))
    if kind == "evaluate":
        return pb.NextTaskResponse(evaluate=pb.EvaluateTask(round=number, model=blob))
    known = {"run_id": RUN, "round": number + 1, "method": "lora", "steps": 2, "model": blob}
    assignment = update_pb2.Assignment(**{**known, **case.assignment})
    return pb.NextTaskResponse(train=pb.TrainTask(assignment=assignment.SerializeToString()))


def _asks(content: bytes) -> list[pb.RoleWork]:
    """Return what a round asks; of a config that is none, nothing."""
    try:
        return asks(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _message(blob: Blob) -> update_pb2.Blob:
    digest = bytes.fromhex(blob.sha256)
    return update_pb2.Blob(sha256=digest, bytes=blob.bytes, encoding=blob.encoding)


class _Work:
    """See worker_process.Session: the rows are read as ever; the model is made up."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._examples = 0

    def prepare(self, request: Prepare) -> Prepared:
        self._fail("prepare")
        config = site_config(request)
        said = request.data.get("eval_examples") is not None
        local = load_local(request.client, config.data, config.seed, held_out_said=said)
        self._examples = len(local.examples.train)
        broken = self._case.place == "report"
        told = pb.Capabilities(device_kind="cpu", device_name="CPU", tokens_per_s=1000.0)
        capabilities = b"\xff\xff" if broken else told.SerializeToString()
        evaluation = len(local.examples.evaluation)
        return Prepared(self._examples, evaluation, capabilities, b"", work_asked(request.config))

    def train(self, request: Train, on_step: Callable[[Stepped], None]) -> Trained:
        self._fail("train")
        on_step(Stepped(1, 1, 0.5))
        out = Path(request.out)
        assignment = update_pb2.Assignment.FromString(Path(request.assignment).read_bytes())
        update = update_pb2.Update(run_id=RUN, round=assignment.round, steps=1)
        update.examples = self._examples
        update.metrics["loss"] = 0.5
        update.tensors.CopyFrom(_message(blob_of(_UPDATE, "safetensors")))
        (out / "update").write_bytes(update.SerializeToString())
        (out / "blob").write_bytes(_UPDATE)
        return Trained(str(out / "update"), str(out / "blob"), 1)

    def evaluate(self, request: Evaluate, on_batch: Callable[[], None]) -> Evaluated:
        self._fail("evaluate")
        return Evaluated(20, {"loss": 0.5, "accuracy": 0.75})

    def respond(self, request: Respond) -> Responded:
        raise AssertionError("nobody asks for it here")

    def _fail(self, place: str) -> None:
        if self._case.place == place:
            raise self._case.error()


class _Trainer(TrainerProgram):
    """The daemon's own trainer, whose child is a function of this process."""

    def __init__(self, case: Case) -> None:
        super().__init__([], log=structlog.get_logger(), environment={})
        self._work, self._answers = _Work(case), deque[bytes]()

    @property
    def running(self) -> bool:
        return True

    async def stop(self) -> None:
        pass

    async def _alive(self) -> Any:
        return _Child()

    async def _end(self, child: Any) -> None:
        pass

    async def _tell(self, child: Any, request: Request) -> None:
        asked = decode_request(encode_request(request))
        answers = worker_process.Answers(BytesIO())
        try:
            answer = worker_process._answer(self._work, asked, Event(), answers)
        except (
            Exception
        ):  # nobody foresaw it: the process ends, with a traceback for its last words
            self._answers.append(traceback.format_exc().encode())
        else:
            self._answers.append(encode_answer(answer))

    async def _final_answer(self, child: Any, on_step: Any) -> Response:
        line = self._answers.popleft()
        if not line.startswith(b"{"):
            raise _Died(line.decode())
        child.unanswered = False
        return decode_answer(line)


@dataclass
class _Child:
    unanswered: bool = False
    prepared: bool = True
    stopped: bool = False


class Site:
    """One folder in which case after case is played."""

    def __init__(self, folder: Path) -> None:
        """folder: for outbox and models; its name may hold a mark."""
        self._folder = folder
        self._outbox = Outbox(folder / "outbox")

    def close(self) -> None:
        """Close the outbox."""
        self._outbox.close()

    async def play(self, case: Case) -> Sent:
        """Take part in the case's run; return what has left. How a run ends well or ill is no error."""
        shutil.rmtree(self._folder / "work", ignore_errors=True)
        (self._folder / "configs.json").unlink(missing_ok=True)  # each case is a run of its own
        sent, metrics = Sent(), Metrics()
        settings = ClientSettings.model_validate(case.settings)
        coordinator: Any = Coordinator(case, sent)
        link = _Link(lambda: coordinator, Backoff(Random(0)), metrics)
        outbox = _Faulty(self._outbox)
        if case.place in ("outbox", "download"):
            target: Any = outbox if case.place == "outbox" else link
            target.error = case.error
        trainer = _Trainer(case)
        delivery = Delivery(
            link,
            outbox,  # type: ignore[arg-type]
            metrics,
            lambda: "2026-03-02",
            lambda: settings.policy,
        )
        bench = Workbench(
            link,
            trainer,
            outbox,  # type: ignore[arg-type]
            delivery,
            metrics,
            self._folder / "work",
            lambda: NOON,
        )
        session = Session(
            "edge",
            link,
            trainer,
            outbox,  # type: ignore[arg-type]
            delivery,
            bench,
            metrics,
            Consent(self._folder, lambda: settings.policy),
            KnownRuns(self._folder),
            SettledConfigs(self._folder),
            settings=lambda: settings,
            now=lambda: NOON,
            rng=Random(0),
        )
        with suppress(CallFailed):
            try:
                await session.run()
            except Declined as declined:
                await link.leave(session.joined, declined.codes)
        for entry in self._outbox.entries():
            self._outbox.remove(entry.run_id, entry.round)
        return sent


class _Link(Link):
    """A line that fails at a download, where the case says so."""

    error: Callable[[], BaseException] | None = None

    async def download(self, run_id: str, blob: Blob, path: Path) -> None:
        error = self.error() if self.error is not None else None
        if isinstance(error, OSError):  # the only kind that a full or broken disk raises
            raise error
        await super().download(run_id, blob, path)


class _Faulty:
    """An outbox that cannot be written to, where the case says so."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.error: Callable[[], BaseException] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)

    def add(self, entry: Any, content: Any) -> None:
        from antiphon.core.errors import RunFolderError

        if self.error is not None:
            raise RunFolderError(str(self.error()))
        self._outbox.add(entry, content)
