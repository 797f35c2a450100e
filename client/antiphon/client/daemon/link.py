"""What a client says to its coordinator, call by call.

Every method but `farewell` goes on until the coordinator has answered; a caller that does not want to
wait for ever puts a timeout around it. What the coordinator refuses is raised as calls.py says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import grpc

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.calls import Caller, Stub
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.transfers import FIRST_PART, UNARY_S, Download, Upload
from antiphon.client.sent.recorded import RecordedChannel
from antiphon.core.blob import Blob
from antiphon.core.refusals import Refusal
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import enrolment_pb2

Received = TypeVar("Received")

_SLOWEST_BYTES_PER_S = 4096
_SMALLEST_MEASURED = 32 << 10  # below that it is the latency that is measured


def _nothing(size: int) -> None:
    pass


class Link:
    """The line to one coordinator."""

    def __init__(
        self, connect: Callable[[], RecordedChannel], backoff: Backoff, metrics: Metrics
    ) -> None:
        """connect: opens a channel, with the certificate of now; to be called within an event loop."""
        self._caller = Caller(connect, backoff, metrics)
        self._metrics = metrics
        self._part = FIRST_PART
        self.up_bytes_per_s: float | None = None
        self.down_bytes_per_s: float | None = None

    async def reconnect(self) -> None:
        """Use a new channel from now on; calls under way on the old one are finished there."""
        await self._caller.reconnect()

    async def close(self) -> None:
        """Close the line; calls under way fail."""
        await self._caller.close()

    async def hello(self) -> pb.HelloResponse:
        """Ask which run is open."""
        request = pb.HelloRequest(antiphon_version=_version())
        return await self._unary(
            lambda stub, s: stub.Hello(request, timeout=s, wait_for_ready=True)
        )

    async def join(self, request: pb.JoinRequest) -> pb.JoinResponse:
        """Take part. Raises StartOver where this machine does not fit the run as it is now."""
        return await self._unary(lambda stub, s: stub.Join(request, timeout=s, wait_for_ready=True))

    async def next_task(self, request: pb.NextTaskRequest) -> pb.NextTaskResponse:
        """Wait for work, or for a word about the task in hand."""
        wait_s = UNARY_S + request.wait_ms / 1000
        return await self._unary(
            lambda stub, s: stub.NextTask(request, timeout=s, wait_for_ready=True), wait_s
        )

    async def submit_update(self, message: bytes) -> pb.SubmitUpdateResponse:
        """Hand in an update: a serialised antiphon.v1.Update."""
        request = pb.SubmitUpdateRequest(update=message)
        return await self._unary(
            lambda stub, s: stub.SubmitUpdate(request, timeout=s, wait_for_ready=True),
            UNARY_S + len(message) / _SLOWEST_BYTES_PER_S,
        )

    async def submit_answer(
        self, run_id: str, number: int, exchange: str, answer: bytes
    ) -> pb.SubmitUpdateResponse:
        """Hand in an answer to an exchange of round `number`."""
        request = pb.SubmitAnswerRequest(
            run_id=run_id, round=number, exchange=exchange, answer=answer
        )
        return await self._unary(
            lambda stub, s: stub.SubmitAnswer(request, timeout=s, wait_for_ready=True),
            UNARY_S + len(answer) / _SLOWEST_BYTES_PER_S,
        )

    async def submit_evaluation(
        self, run_id: str, number: int, examples: int, metrics: Mapping[str, float]
    ) -> bool:
        """Hand in what was measured after round `number`; False: it came too late."""
        request = pb.SubmitEvaluationRequest(
            run_id=run_id, round=number, examples=examples, metrics=dict(metrics)
        )
        response: pb.SubmitEvaluationResponse = await self._unary(
            lambda stub, s: stub.SubmitEvaluation(request, timeout=s, wait_for_ready=True)
        )
        return response.accepted

    async def report_failure(
        self, run_id: str, number: int, code: Refusal, *, evaluating: bool, exchange: str = ""
    ) -> None:
        """Say that a task cannot be done, and which kind of reason that has; no word of the site's own."""
        request = pb.ReportFailureRequest(
            run_id=run_id, round=number, evaluating=evaluating, exchange=exchange, code=code
        )
        await self._unary(
            lambda stub, s: stub.ReportFailure(request, timeout=s, wait_for_ready=True)
        )

    async def leave(self, run_id: str, codes: Sequence[Refusal]) -> None:
        """Take no part from now on; without a run: decline the open one."""
        request = pb.LeaveRequest(run_id=run_id, codes=codes)
        await self._unary(lambda stub, s: stub.Leave(request, timeout=s, wait_for_ready=True))

    async def farewell(self, run_id: str, timeout_s: float) -> None:
        """Say goodbye in one attempt, before the process ends. Raises CallFailed."""
        request = pb.LeaveRequest(run_id=run_id, codes=[Refusal.STOPPED])

        async def attempt(stub: Stub) -> pb.LeaveResponse:
            return await stub.Leave(request, timeout=timeout_s)

        await self._caller.once(attempt)

    async def renew(self, certificate_request: bytes) -> enrolment_pb2.Certificate:
        """Exchange the certificate for one with a new key. certificate_request: PKCS #10, DER."""
        request = pb.RenewRequest(certificate_request=certificate_request)
        return await self._unary(
            lambda stub, s: stub.Renew(request, timeout=s, wait_for_ready=True)
        )

    async def download(self, run_id: str, blob: Blob, path: Path) -> None:
        """Fetch a blob to `path`; it is whole and has its hash when this returns."""
        moved = self._metrics.bytes.labels("down").inc
        start = asyncio.get_running_loop().time()
        download = Download(run_id, blob, path, moved)
        await self._caller.until_answered(download.attempt, download.came_further)
        self.down_bytes_per_s = _rate(self.down_bytes_per_s, blob.bytes, start)

    async def upload(
        self,
        run_id: str,
        blob: Blob,
        path: Path,
        sent: Callable[[int], None] = _nothing,
        allow: Callable[[int], None] = _nothing,
    ) -> None:
        """Send a blob from its file; the coordinator has it on its disk when this returns.

        sent: told of each part's bytes; allow: asked before each attempt, with the bytes that are missing:
        what it raises ends the upload. Raises HandInAgain where the coordinator does not expect it.
        """
        count = self._metrics.bytes.labels("up").inc

        def moved(size: int) -> None:
            count(size)
            sent(size)

        start = asyncio.get_running_loop().time()
        upload = Upload(run_id, blob, path, moved, self._part, allow)
        await self._caller.until_answered(upload.attempt, upload.came_further)
        self._part = upload.next_part()
        self.up_bytes_per_s = _rate(self.up_bytes_per_s, blob.bytes, start)

    async def _unary(
        self,
        call: Callable[[Stub, float], grpc.aio.UnaryUnaryCall[object, Received]],
        timeout_s: float = UNARY_S,
    ) -> Received:
        async def attempt(stub: Stub) -> Received:
            return await call(stub, timeout_s)

        return await self._caller.until_answered(attempt)


def _rate(before: float | None, size: int, start: float) -> float | None:
    """Return the mean of a rate measured now and the one before, bytes per second."""
    if size < _SMALLEST_MEASURED:
        return before
    now = size / max(1e-3, asyncio.get_running_loop().time() - start)
    return now if before is None else (before + now) / 2


def _version() -> str:
    try:
        return version("antiphon")
    except PackageNotFoundError:
        return "unknown"
