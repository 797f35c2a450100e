"""The Coordinator service: messages in, messages out; every decision is the engine's.

Who calls is `identify(context)`, from the certificate. What a peer sends is checked before it is used;
a refusal has a status and a reason that the peer sees.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from antiphon.core import fault_points
from antiphon.core.blob import Blob
from antiphon.core.channel import CHUNK_BYTES
from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.events import MEASURING, TRAINING, ClientDeclined
from antiphon.core.refusals import read_codes, said_of
from antiphon.core.wire import pack_blob, pack_change, round_of, unpack_blob, update_blob
from antiphon.server.coordinator.admission import Admission, Held, Refused
from antiphon.server.coordinator.allowance import A_MINUTE, Allowance
from antiphon.server.coordinator.chatter import Chatter
from antiphon.server.coordinator.desk import Answering, InHand, Measuring, Training, Withdrawn
from antiphon.server.coordinator.downloads import Downloads, opened_model, read_ahead
from antiphon.server.coordinator.engine import Engine, PollAnswer
from antiphon.server.coordinator.refusal import abort, busy, told
from antiphon.server.coordinator.spool import Spool
from antiphon.server.coordinator.submissions import Ended
from antiphon.server.folding.held_out import read_measurement
from antiphon.server.machine.actions import Finish, Reply
from antiphon.server.planning.plans import fewest_folded
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc, enrolment_pb2, update_pb2

_MAX_REASON = 500
_MAX_EXCHANGE = 64
_CHUNK_TIMEOUT_S = 60.0
_DROPPED_BYTES, _DROPPED_S = 4 * CHUNK_BYTES, 1.0
_IDLE_RETRY_MS = 2_000
_KNOCK_AGAIN_MS = 1_000
_MAX_REFUSALS = 20
_EVENTS_OF_A_CERTIFICATE = 20

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

Identify = Callable[["Context"], str]
Renew = Callable[[str, bytes], Awaitable[enrolment_pb2.Certificate]]
"""Issues a new certificate to a client for a certificate request (DER). Raises UpdateError."""


class TrafficListener(Protocol):
    """Hears of bytes that have moved."""

    def moved(self, direction: str, size: int) -> None:
        """Count `size` bytes of a blob, `up` (to the coordinator) or `down`."""
        ...


class CoordinatorService(coordinator_pb2_grpc.CoordinatorServicer):
    """One run on the network. There is an engine once it is known what the run trains."""

    def __init__(
        self,
        config: RunConfig,
        admission: Admission,
        spool: Spool,
        *,
        identify: Identify,
        renewal: Renew,
        traffic: TrafficListener,
        chatter: Chatter,
        downloads: Downloads,
        upload_slots: int,
    ) -> None:
        """upload_slots: uploads at the same time; more wait for their turn."""
        self._downloads = downloads
        self._allowance = Allowance(time.monotonic)
        self._chatter = chatter
        self._config, self._admission, self._spool = config, admission, spool
        self._identify, self._renewal, self._traffic = identify, renewal, traffic
        self._slots = asyncio.Semaphore(upload_slots)
        self._refusals: Counter[tuple[str, int]] = Counter()
        asked = method_of(config).work
        self._asks = [pb.RoleWork(role=name, **each) for name, each in asked.items()]

    def set_upload_slots(self, count: int) -> None:
        """Change how many uploads go on at the same time; those in progress keep theirs."""
        self._slots = asyncio.Semaphore(count)

    async def Hello(self, request: pb.HelloRequest, context: Context) -> pb.HelloResponse:
        """Say what the run is."""
        return pb.HelloResponse(
            run_id=self._admission.run_id,
            config=self._admission.config_json,
            config_hash=self._admission.config_hash,
            min_cohort=fewest_folded(self._config),
            max_upload_bytes=self._spool.max_bytes,
            asks=self._asks,
        )

    async def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinResponse:
        """Take a client in, if it fits the run; hold it until the run is open."""
        client = self._identify(context)
        await self._charge(client, context, 2)
        try:
            async with told(context):
                engine = await self._admission.join(client, request)
        except Refused as error:
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, f"refused: {error}")
        except Held as error:
            await busy(context, str(error), _KNOCK_AGAIN_MS)
        return pb.JoinResponse(lease_ms=_ms(engine.leases.lease_s))

    async def NextTask(self, request: pb.NextTaskRequest, context: Context) -> pb.NextTaskResponse:
        """Hold the call until there is something to do."""
        client = self._identify(context)
        engine = await self._member(client, request.run_id, context)
        in_hand = None
        if request.working_on_round or request.evaluating:
            exchange = _exchange(request)
            in_hand = InHand(request.working_on_round, exchange, request.steps_done)
        async with told(context):
            answer = await engine.next_task(client, request.wait_ms / 1000, in_hand)
        response = self._task_message(engine, answer)
        response.lease_ms = _ms(engine.leases.lease_s)
        if engine.draining:
            response.retry_after_ms = _IDLE_RETRY_MS
        return response

    def _task_message(self, engine: Engine, answer: PollAnswer) -> pb.NextTaskResponse:
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
                if answer.frames:
                    task.frames.CopyFrom(pack_blob(answer.frames))
                if answer.change:
                    task.change.CopyFrom(pack_change(answer.change))
                return pb.NextTaskResponse(evaluate=task)
            case Answering():
                asked = pb.ExchangeTask(
                    round=answer.round,
                    exchange=answer.exchange,
                    question=answer.question,
                    deadline_ms=_ms(engine.seconds_left(answer.deadline)),
                )
                return pb.NextTaskResponse(exchange=asked)
            case Withdrawn():
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
        sent = 0
        try:
            async with told(context):
                with (
                    self._downloads.place(client, context.peer()) as moved,
                    opened_model(engine.folder, request.sha256, request.offset) as file,
                    suppress(grpc.aio.InternalError),  # the client has hung up: no defect of ours
                ):
                    async for chunk in read_ahead(file, self._downloads.piece_bytes):
                        async with self._patience(context):
                            await context.write(pb.DownloadChunk(content=chunk))
                        sent += len(chunk)
                        moved()
                        engine.leases.touch(client)
        finally:
            self._moved(engine, client, "down", "model", sent)

    @asynccontextmanager
    async def _patience(self, context: Context) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_CHUNK_TIMEOUT_S):
                yield
        except TimeoutError:
            await self._downloads.give_up(context.peer())
            raise

    async def UploadStatus(
        self, request: pb.UploadStatusRequest, context: Context
    ) -> pb.UploadStatusResponse:
        """Say where an upload goes on."""
        client = self._identify(context)
        await self._member(client, request.run_id, context)
        blob = await _blob(request.blob, context)
        async with told(context):
            return pb.UploadStatusResponse(offset=await self._spool.arrived(client, blob))

    async def Upload(
        self, request_iterator: AsyncIterator[pb.UploadChunk], context: Context
    ) -> pb.UploadStatusResponse:
        """Take an upload."""
        client = self._identify(context)
        async with told(context), asyncio.timeout(_CHUNK_TIMEOUT_S):
            first = await anext(aiter(request_iterator), pb.UploadChunk())
        engine = await self._member(client, first.run_id, context)
        blob = await _blob(first.blob, context)
        arrived = _Arrived(first.content, request_iterator, lambda: engine.leases.touch(client))
        try:
            async with told(context), arrived.dropped_if_refused(), self._slots:
                offset = await self._spool.receive(client, blob, first.offset, aiter(arrived))
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
        await self._check_refusals(client, engine.round, context)
        async with told(context):
            try:
                if await self._blob_is_missing(engine, client, request.update):
                    return pb.SubmitUpdateResponse(verdict=pb.SubmitUpdateResponse.UPLOAD_FIRST)
                reply = await engine.update(client, request.update)
            except UpdateError as error:
                reply = await engine.refuse(client, str(error))
        self._count_refusals(client, engine.round, reply)
        if reply.verdict != "duplicate":
            self._moved(engine, client, "up", "update", len(request.update))
        with suppress(UpdateError):
            if (blob := update_blob(request.update)) is not None:
                self._spool.forget(client, blob)
        fault_points.reached("before acknowledgement")
        return _verdict(reply)

    async def _check_refusals(self, client: str, number: int, context: Context) -> None:
        if self._refusals[client, number] >= _MAX_REFUSALS:
            await busy(context, f"{_MAX_REFUSALS} updates refused: the next round may be better")

    def _count_refusals(self, client: str, number: int, reply: Reply) -> None:
        """Each refusal is journalled, so a client has a few in a round."""
        if any(round_ != number for _, round_ in self._refusals):
            self._refusals.clear()
        if reply.verdict not in ("accepted", "duplicate"):
            self._refusals[client, number] += 1

    async def _blob_is_missing(self, engine: Engine, client: str, message: bytes) -> bool:
        """Whether an update's blob is wanted and must be uploaded; announces it then."""
        try:
            blob = update_blob(message)
            wanted = blob is not None and engine.waits_for(client, message)
        except UpdateError:
            return False  # the engine refuses it, and the journal says why
        if blob is None or not wanted:
            return False
        most = await engine.most_upload_bytes(client, round_of(message))
        return await self._spool.announce(client, blob, most) < blob.bytes

    async def SubmitAnswer(
        self, request: pb.SubmitAnswerRequest, context: Context
    ) -> pb.SubmitUpdateResponse:
        """Take an answer to an exchange."""
        client = self._identify(context)
        engine = await self._member(client, request.run_id, context)
        await self._check_refusals(client, engine.round, context)
        exchange = request.exchange[:_MAX_EXCHANGE]
        async with told(context):
            reply = await engine.answer(client, request.round, exchange, request.answer)
        self._count_refusals(client, engine.round, reply)
        if reply.verdict != "duplicate":
            self._moved(engine, client, "up", "exchange", len(request.answer))
        fault_points.reached("before acknowledgement")
        return _verdict(reply)

    async def SubmitEvaluation(
        self, request: pb.SubmitEvaluationRequest, context: Context
    ) -> pb.SubmitEvaluationResponse:
        """Take a measurement."""
        client = self._identify(context)
        engine = await self._member(client, request.run_id, context)
        try:
            measured = read_measurement(request.round, client, request.examples, request.metrics)
        except UpdateError as error:
            with suppress(Ended):  # who says nonsense is not waited for
                await engine.failed(client, request.round, MEASURING, str(error))
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        async with told(context):
            return pb.SubmitEvaluationResponse(accepted=await engine.measured(measured))

    async def ReportFailure(
        self, request: pb.ReportFailureRequest, context: Context
    ) -> pb.ReportFailureResponse:
        """Hear that a task cannot be done."""
        client = self._identify(context)
        engine = await self._member(client, request.run_id, context)
        await self._charge(client, context)
        reason = said_of([request.code], _said(request.reason))
        async with told(context):
            with suppress(Ended):
                await engine.failed(client, request.round, _exchange(request), reason)
        return pb.ReportFailureResponse()

    async def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveResponse:
        """Hear that a client takes no part."""
        client = self._identify(context)
        await self._charge(client, context, 2)  # it may come back without a word
        engine = self._admission.engine
        words, coded = _said(request.reason), any(request.codes)
        if engine is not None and engine.is_member(client) and request.run_id:
            async with told(context):
                with suppress(Ended):
                    await engine.leave(client, said_of(request.codes, words))
                await self._spool.clear(client)
        else:
            codes = read_codes(request.codes) if coded or not words else ()
            self._admission.declined(ClientDeclined(client, codes, "" if codes else words))
        return pb.LeaveResponse()

    async def Renew(self, request: pb.RenewRequest, context: Context) -> enrolment_pb2.Certificate:
        """Issue a new certificate."""
        client = self._identify(context)
        await self._charge(client, context, _EVENTS_OF_A_CERTIFICATE)
        try:
            return await self._renewal(client, request.certificate_request)
        except UpdateError as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _member(self, client: str, run_id: str, context: Context) -> Engine:
        engine = self._admission.engine
        if run_id != self._admission.run_id:
            why = f"run {run_id[:64]!r} is not open here, but {self._admission.run_id!r}: say Hello"
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, why)
        if engine is None or not engine.is_member(client):
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, "join the run first")
        engine.leases.touch(client)
        return engine

    async def _charge(self, client: str, context: Context, events: int = 1) -> None:
        """Take events from a client's minute, or end its call: every line stays in the journal for ever."""
        wait_s = self._allowance.wait_s(client, events)
        if wait_s > 0:
            why = f"{client} has filled {A_MINUTE:g} lines of the journal within a minute"
            await busy(context, f"{why}, as many as one may", int(wait_s * 1000) + 1)

    def _moved(self, engine: Engine, client: str, way: str, purpose: str, size: int) -> None:
        self._traffic.moved(way, size)
        moved = Counter({(way, purpose): size})
        if purpose == "update":  # once a round is often enough
            up, down = self._chatter.take(client)
            moved += Counter({("up", "control"): up, ("down", "control"): down})
        for (each, what), count in self._allowance.moved(client, moved).items():
            engine.moved(client, each, what, count)


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

    @asynccontextmanager
    async def dropped_if_refused(self) -> AsyncIterator[None]:
        """Where this block raises, first read what its sender has under way, within bounds.

        A sender in Python that is still writing when its call ends may see INTERNAL in place of the status
        and the reason (grpc/grpc issue 36066); one that has written all it had sees them.
        """
        try:
            yield
        except Exception:
            left, rest = _DROPPED_BYTES, aiter(self._rest)
            with suppress(StopAsyncIteration, TimeoutError):
                async with asyncio.timeout(_DROPPED_S):
                    while left > 0:
                        left -= len((await anext(rest)).content)
            raise


async def _blob(message: update_pb2.Blob, context: Context) -> Blob:
    try:
        return unpack_blob(message)
    except UpdateError as error:
        await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _exchange(request: pb.NextTaskRequest | pb.ReportFailureRequest) -> str:
    """Return the exchange that a client's word is about; none is named by clients of before exchanges."""
    if request.evaluating:
        return MEASURING
    return request.exchange[:_MAX_EXCHANGE] or TRAINING


def _verdict(reply: Reply) -> pb.SubmitUpdateResponse:
    return pb.SubmitUpdateResponse(verdict=reply.verdict.upper(), reason=reply.reason)


def _said(text: str) -> str:
    """A peer's words, cut, without control characters: they go into logs and onto pages."""
    return "".join(each if each.isprintable() else "�" for each in text[:_MAX_REASON])


def _ms(seconds: float) -> int:
    return 0 if math.isinf(seconds) else max(1, int(seconds * 1000))
