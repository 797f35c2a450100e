"""The Coordinator service: messages in, messages out; every decision is the engine's.

Who calls is `identify(context)`, from the certificate. What a peer sends is checked before it is used;
a refusal has a status and a reason that the peer sees.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import grpc

from antiphon.core import fault_points
from antiphon.core.blob import Blob
from antiphon.core.channel import CHUNK_BYTES
from antiphon.core.config import RunConfig
from antiphon.core.errors import RunFolderError, UpdateError
from antiphon.core.events import Evaluated
from antiphon.core.wire import pack_blob, unpack_blob, update_blob
from antiphon.server.actions import Finish, Reply
from antiphon.server.coordinator.admission import Admission, Refused
from antiphon.server.coordinator.desk import Measuring, Training
from antiphon.server.coordinator.engine import Answer, Cancelled, Engine, InHand
from antiphon.server.coordinator.spool import NoRoom, NotAnnounced, Spool
from antiphon.server.coordinator.submissions import Ended
from antiphon.server.planning import fewest_folded
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc, enrolment_pb2

RETRY_AFTER = "antiphon-retry-after-ms"
"""Trailing metadata beside RESOURCE_EXHAUSTED: when to try again, milliseconds."""

_MAX_REASON = 500
_CHUNK_TIMEOUT_S = 60.0
_READ_BYTES = 4 * CHUNK_BYTES
_BUSY_RETRY_MS = 5_000
_IDLE_RETRY_MS = 2_000
_MAX_REFUSALS = 20
_METRICS = ("loss", "accuracy", "perplexity", "rouge_l")

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

Identify = Callable[["Context"], str]
Renewal = Callable[[str, bytes], Awaitable[enrolment_pb2.Certificate]]
"""Issues a new certificate to a client for a certificate request (DER). Raises UpdateError."""


class Traffic(Protocol):
    """Hears of bytes that have moved."""

    def moved(self, direction: str, size: int) -> None:
        """Count `size` bytes of a blob, `up` (to the coordinator) or `down`."""
        ...


class CoordinatorService(coordinator_pb2_grpc.CoordinatorServicer):
    """One run on the network. There is an engine once the first client has said what the run trains."""

    def __init__(
        self,
        config: RunConfig,
        admission: Admission,
        spool: Spool,
        *,
        identify: Identify,
        renewal: Renewal,
        traffic: Traffic,
        upload_slots: int,
    ) -> None:
        """upload_slots: uploads at the same time; more wait for their turn."""
        self._config, self._admission, self._spool = config, admission, spool
        self._identify, self._renewal, self._traffic = identify, renewal, traffic
        self._slots = asyncio.Semaphore(upload_slots)
        self._refusals: Counter[tuple[str, int]] = Counter()

    async def Hello(self, request: pb.HelloRequest, context: Context) -> pb.HelloResponse:
        """Say what the run is."""
        return pb.HelloResponse(
            run_id=self._admission.run_id,
            config=self._admission.config_json,
            config_hash=self._admission.config_hash,
            min_cohort=fewest_folded(self._config),
            max_upload_bytes=self._spool.max_bytes,
        )

    async def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinResponse:
        """Take a client in, if it fits the run."""
        client = self._identify(context)
        try:
            engine = await self._admission.join(client, request)
        except Refused as error:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, f"refused: {error}")
        return pb.JoinResponse(lease_ms=_ms(engine.leases.lease_s))

    async def NextTask(self, request: pb.NextTaskRequest, context: Context) -> pb.NextTaskResponse:
        """Hold the call until there is something to do."""
        client = self._identify(context)
        engine = await self._member(client, request.run_id, context)
        in_hand = None
        if request.working_on_round or request.evaluating:
            in_hand = InHand(request.working_on_round, request.evaluating, request.steps_done)
        answer = await engine.next_task(client, request.wait_ms / 1000, in_hand)
        response = self._task_message(engine, answer)
        response.lease_ms = _ms(engine.leases.lease_s)
        if engine.draining:
            response.retry_after_ms = _IDLE_RETRY_MS
        return response

    def _task_message(self, engine: Engine, answer: Answer) -> pb.NextTaskResponse:
        match answer:
            case Training():
                left = engine.seconds_left(answer.deadline)
                return pb.NextTaskResponse(
                    train=pb.TrainTask(assignment=answer.message, deadline_ms=_ms(left))
                )
            case Measuring():
                left = engine.seconds_left(answer.deadline)
                task = pb.EvaluateTask(
                    round=answer.round, model=pack_blob(answer.model), deadline_ms=_ms(left)
                )
                return pb.NextTaskResponse(evaluate=task)
            case Cancelled():
                return pb.NextTaskResponse(
                    cancel=pb.CancelTask(round=answer.round, reason=answer.reason)
                )
            case Finish():
                return pb.NextTaskResponse(
                    over=pb.RunOver(complete=answer.complete, reason=answer.reason)
                )
        return pb.NextTaskResponse()

    async def Download(self, request: pb.DownloadRequest, context: Context) -> None:
        """Send a model from an offset on."""
        client = self._identify(context)
        engine = await self._member(client, request.run_id, context)
        file = engine.federation.folder.model_blob(request.sha256.hex())
        if len(request.sha256) != 32 or not file.is_file():
            await _abort(
                context, grpc.StatusCode.NOT_FOUND, "no such model now: ask for a new task"
            )
        sent = 0
        async for content in _read_ahead(file, request.offset):
            for start in range(0, len(content), CHUNK_BYTES):
                chunk = content[start : start + CHUNK_BYTES]
                async with asyncio.timeout(_CHUNK_TIMEOUT_S):
                    await context.write(pb.DownloadChunk(content=chunk))
                sent += len(chunk)
            engine.leases.touch(client)
        self._moved(engine, client, "down", "model", sent)

    async def UploadStatus(
        self, request: pb.UploadStatusRequest, context: Context
    ) -> pb.UploadStatusResponse:
        """Say where an upload goes on."""
        client = self._identify(context)
        await self._member(client, request.run_id, context)
        blob = await _blob(request.blob, context)
        try:
            return pb.UploadStatusResponse(offset=await self._spool.arrived(client, blob))
        except NotAnnounced as error:
            await _abort(context, grpc.StatusCode.ABORTED, str(error))

    async def Upload(
        self, request_iterator: AsyncIterator[pb.UploadChunk], context: Context
    ) -> pb.UploadStatusResponse:
        """Take an upload."""
        client = self._identify(context)
        async with asyncio.timeout(_CHUNK_TIMEOUT_S):
            first = await anext(aiter(request_iterator), pb.UploadChunk())
        engine = await self._member(client, first.run_id, context)
        blob = await _blob(first.blob, context)
        arrived = _Arrived(first.content, request_iterator, lambda: engine.leases.touch(client))
        try:
            async with self._slots:
                offset = await self._spool.receive(client, blob, first.offset, aiter(arrived))
        except NotAnnounced as error:
            await _abort(context, grpc.StatusCode.ABORTED, str(error))
        except UpdateError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except RunFolderError as error:
            await _busy(context, str(error))
        except TimeoutError:
            slow = f"nothing has arrived for {_CHUNK_TIMEOUT_S:.0f} s: go on from where it stopped"
            await _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, slow)
        finally:
            self._moved(engine, client, "up", "update", arrived.size)
        return pb.UploadStatusResponse(offset=offset)

    async def SubmitUpdate(
        self, request: pb.SubmitUpdateRequest, context: Context
    ) -> pb.SubmitUpdateResponse:
        """Take an update, or ask for its blob first."""
        client = self._identify(context)
        engine = self._admission.engine
        if engine is None or not engine.is_member(client):
            return _verdict(Reply(client, 0, "unknown", "join the run first"))
        engine.leases.touch(client)
        if self._refusals[client, engine.round] >= _MAX_REFUSALS:
            await _busy(context, f"{_MAX_REFUSALS} updates refused: the next round may be better")
        if await self._blob_is_missing(engine, client, request.update, context):
            return pb.SubmitUpdateResponse(verdict=pb.SubmitUpdateResponse.UPLOAD_FIRST)
        try:
            reply = await engine.update(client, request.update)
        except Ended as error:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        except RunFolderError as error:
            await _busy(context, str(error))
        self._count_refusals(client, engine.round, reply)
        if reply.verdict != "duplicate":
            self._moved(engine, client, "up", "update", len(request.update))
        with suppress(UpdateError):
            if (blob := update_blob(request.update)) is not None:
                self._spool.forget(client, blob)
        fault_points.reached("before acknowledgement")
        return _verdict(reply)

    def _count_refusals(self, client: str, number: int, reply: Reply) -> None:
        """Each refusal is journalled, so a client has a few in a round."""
        if any(round_ != number for _, round_ in self._refusals):
            self._refusals.clear()
        if reply.verdict not in ("accepted", "duplicate"):
            self._refusals[client, number] += 1

    async def _blob_is_missing(
        self, engine: Engine, client: str, message: bytes, context: Context
    ) -> bool:
        """Whether an update's blob is wanted and must be uploaded; announces it then."""
        try:
            blob = update_blob(message)
            if blob is None or not engine.waits_for(client, message):
                return False
            return await self._spool.announce(client, blob) < blob.bytes
        except UpdateError:
            return False  # the engine refuses it, and the journal says why
        except NoRoom as error:
            await _busy(context, str(error))

    async def SubmitEvaluation(
        self, request: pb.SubmitEvaluationRequest, context: Context
    ) -> pb.SubmitEvaluationResponse:
        """Take a measurement."""
        client = self._identify(context)
        engine = await self._member(client, request.run_id, context)
        unknown = sorted(set(request.metrics) - set(_METRICS))
        if unknown or len(request.metrics) > len(_METRICS):
            why = f"metrics {str(unknown)[:80]}, expected some of {', '.join(_METRICS)}"
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, why)
        values = {name: value for name, value in request.metrics.items() if not math.isnan(value)}
        measured = Evaluated(request.round, client, request.examples, **values)
        return pb.SubmitEvaluationResponse(accepted=await engine.measured(measured))

    async def ReportFailure(
        self, request: pb.ReportFailureRequest, context: Context
    ) -> pb.ReportFailureResponse:
        """Hear that a task cannot be done."""
        client = self._identify(context)
        engine = await self._member(client, request.run_id, context)
        reason = _said(request.reason) or "it gave no reason"
        with suppress(Ended):
            await engine.failed(client, request.round, request.evaluating, reason)
        return pb.ReportFailureResponse()

    async def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveResponse:
        """Hear that a client takes no part."""
        client = self._identify(context)
        engine = self._admission.engine
        reason = _said(request.reason)
        if engine is not None and engine.is_member(client) and request.run_id:
            with suppress(Ended):
                await engine.leave(client, reason)
        else:
            self._admission.declined(client, reason)
        return pb.LeaveResponse()

    async def Renew(self, request: pb.RenewRequest, context: Context) -> enrolment_pb2.Certificate:
        """Issue a new certificate."""
        try:
            return await self._renewal(self._identify(context), request.certificate_request)
        except UpdateError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _member(self, client: str, run_id: str, context: Context) -> Engine:
        engine = self._admission.engine
        if run_id != self._admission.run_id:
            why = f"run {run_id[:64]!r} is not open here, but {self._admission.run_id!r}: say Hello"
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, why)
        if engine is None or not engine.is_member(client):
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, "join the run first")
        engine.leases.touch(client)
        return engine

    def _moved(self, engine: Engine, client: str, way: str, purpose: str, size: int) -> None:
        self._traffic.moved(way, size)
        if size:
            engine.moved(client, way, purpose, size)


class _Arrived:
    """The content of an upload's messages; each is a sign of life, and must come in time."""

    def __init__(
        self, first: bytes, rest: AsyncIterator[pb.UploadChunk], on_chunk: Callable[[], None]
    ) -> None:
        self._first, self._rest, self._on_chunk = first, rest, on_chunk
        self.size = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.size += len(self._first)
        yield self._first
        rest = aiter(self._rest)
        with suppress(StopAsyncIteration):
            while True:
                async with asyncio.timeout(_CHUNK_TIMEOUT_S):
                    chunk = await anext(rest)
                self._on_chunk()
                self.size += len(chunk.content)
                yield chunk.content


async def _read_ahead(file: Path, offset: int) -> AsyncIterator[bytes]:
    """Yield a file's content from an offset on, each piece read while the one before is sent."""
    with file.open("rb", buffering=0) as stream:
        stream.seek(offset)
        reading = asyncio.ensure_future(asyncio.to_thread(stream.read, _READ_BYTES))
        try:
            while content := await reading:
                reading = asyncio.ensure_future(asyncio.to_thread(stream.read, _READ_BYTES))
                yield content
        finally:
            await asyncio.wait([reading])


async def _blob(message: object, context: Context) -> Blob:
    try:
        return unpack_blob(message)  # type: ignore[arg-type]
    except UpdateError as error:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def _abort(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)
    raise AssertionError("unreachable: abort raises")


async def _busy(context: Context, reason: str) -> NoReturn:
    hint = ((RETRY_AFTER, str(_BUSY_RETRY_MS)),)
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, hint)
    raise AssertionError("unreachable: abort raises")


def _verdict(reply: Reply) -> pb.SubmitUpdateResponse:
    return pb.SubmitUpdateResponse(verdict=reply.verdict.upper(), reason=reply.reason)


def _said(text: str) -> str:
    """A peer's words, cut, without control characters: they go into logs and onto pages."""
    return "".join(each if each.isprintable() else "�" for each in text[:_MAX_REASON])


def _ms(seconds: float) -> int:
    return 0 if math.isinf(seconds) else max(1, int(seconds * 1000))
