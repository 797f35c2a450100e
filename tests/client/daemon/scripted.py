"""A coordinator that does what a test has written down, on a real port with real TLS.

It keeps uploads by offset as the real one does, hands out the tasks of a list, and answers whatever
statuses the test asked for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.client.daemon.certificates import FLEET, Authority
from tests.work_asked import asks

from antiphon.core.blob import Blob, blob_of
from antiphon.core.channel import SERVER_OPTIONS
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc, enrolment_pb2, update_pb2

RUN = "run-1"
CONFIG: dict[str, Any] = {
    "name": "run",
    "method": "lora",
    "model": {"model_name_or_path": "tiny"},
    "training": {
        "max_steps": 4,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
    },
    "seeds": {"max_steps": 3, "per_device_train_batch_size": 16},
    "data": {"dataset": "theirs"},
}
SUBMIT = pb.SubmitUpdateResponse


@dataclass(frozen=True)
class Failure:
    """A status to answer with. hint_ms: as trailing metadata."""

    code: grpc.StatusCode
    hint_ms: int | None = None


def proto(blob: Blob) -> update_pb2.Blob:
    """The message that names a blob."""
    return update_pb2.Blob(
        sha256=bytes.fromhex(blob.sha256), bytes=blob.bytes, encoding=blob.encoding
    )


@dataclass
class Script(coordinator_pb2_grpc.CoordinatorServicer):
    """What the coordinator does, and what it has seen."""

    run_id: str = RUN
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    min_cohort: int = 2
    lease_ms: int = 3000
    chunk_bytes: int = 64 << 10
    tasks: deque[pb.NextTaskResponse] = field(default_factory=deque)
    models: dict[str, bytes] = field(default_factory=dict)
    failures: dict[str, deque[Failure]] = field(default_factory=lambda: defaultdict(deque))
    verdicts: deque[int] = field(default_factory=deque)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    updates: list[bytes] = field(default_factory=list)
    cancelled: dict[int, str] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    authority: Authority | None = None
    port: int = 1

    def seen(self, method: str) -> list[Any]:
        """The requests of one method so far."""
        return [request for name, request in self.calls if name == method]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something has been seen, ten seconds at most."""
        async with asyncio.timeout(10):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def give(self, task: pb.NextTaskResponse) -> None:
        """Put a task on the desk."""
        self.tasks.append(task)
        self.news.set()

    def model(self, content: bytes) -> Blob:
        """Make a model that can be downloaded."""
        blob = blob_of(content, "safetensors")
        self.models[blob.sha256] = content
        return blob

    async def _note(self, method: str, request: Any, context: Any) -> None:
        self.calls.append((method, request))
        self.news.set()
        if self.failures[method]:
            failure = self.failures[method].popleft()
            hint = (("antiphon-retry-after-ms", str(failure.hint_ms)),) if failure.hint_ms else ()
            await context.abort(failure.code, "as the test asked", hint)

    async def Hello(self, request: Any, context: Any) -> pb.HelloResponse:
        await self._note("Hello", request, context)
        return pb.HelloResponse(
            run_id=self.run_id,
            config=json.dumps(self.config).encode(),
            config_hash=hashlib.sha256(json.dumps(self.config).encode()).hexdigest(),
            min_cohort=self.min_cohort,
            max_upload_bytes=1 << 30,
            retry_after_ms=20,
            asks=asks(self.config),
        )

    async def Join(self, request: Any, context: Any) -> pb.JoinResponse:
        await self._note("Join", request, context)
        return pb.JoinResponse(lease_ms=self.lease_ms)

    async def NextTask(self, request: Any, context: Any) -> pb.NextTaskResponse:
        await self._note("NextTask", request, context)
        in_hand = request.working_on_round or request.evaluating
        until = asyncio.get_running_loop().time() + min(request.wait_ms, self.lease_ms / 2) / 1000
        while (left := until - asyncio.get_running_loop().time()) > 0:
            if in_hand and request.working_on_round in self.cancelled:
                reason = self.cancelled.pop(request.working_on_round)
                cancel = pb.CancelTask(round=request.working_on_round, reason=reason)
                return pb.NextTaskResponse(cancel=cancel)
            if not in_hand and self.tasks:
                return self.tasks.popleft()
            await asyncio.sleep(min(left, 0.02))
        return pb.NextTaskResponse(lease_ms=self.lease_ms)

    async def Download(self, request: Any, context: Any) -> AsyncIterator[pb.DownloadChunk]:
        await self._note("Download", request, context)
        content = self.models[request.sha256.hex()]
        for start in range(request.offset, len(content), self.chunk_bytes):
            yield pb.DownloadChunk(content=content[start : start + self.chunk_bytes])

    async def UploadStatus(self, request: Any, context: Any) -> pb.UploadStatusResponse:
        await self._note("UploadStatus", request, context)
        arrived = self.uploads.setdefault(request.blob.sha256.hex(), bytearray())
        return pb.UploadStatusResponse(offset=len(arrived))

    async def Upload(self, chunks: AsyncIterator[Any], context: Any) -> pb.UploadStatusResponse:
        first = await anext(aiter(chunks))
        await self._note("Upload", first, context)
        arrived = self.uploads[first.blob.sha256.hex()]
        del arrived[first.offset :]
        arrived += first.content
        async for chunk in chunks:
            arrived += chunk.content
        return pb.UploadStatusResponse(offset=len(arrived))

    async def SubmitUpdate(self, request: Any, context: Any) -> pb.SubmitUpdateResponse:
        await self._note("SubmitUpdate", request, context)
        if self.verdicts:
            return SUBMIT(verdict=self.verdicts.popleft())  # type: ignore[arg-type]
        update = update_pb2.Update.FromString(request.update)
        arrived = self.uploads.get(update.tensors.sha256.hex(), b"")
        if update.WhichOneof("payload") == "tensors" and len(arrived) < update.tensors.bytes:
            return SUBMIT(verdict=SUBMIT.UPLOAD_FIRST)
        if request.update in self.updates:
            return SUBMIT(verdict=SUBMIT.DUPLICATE)
        self.updates.append(request.update)
        return SUBMIT(verdict=SUBMIT.ACCEPTED)

    async def SubmitAnswer(self, request: Any, context: Any) -> pb.SubmitUpdateResponse:
        await self._note("SubmitAnswer", request, context)
        return SUBMIT(verdict=SUBMIT.ACCEPTED)

    async def SubmitEvaluation(self, request: Any, context: Any) -> pb.SubmitEvaluationResponse:
        await self._note("SubmitEvaluation", request, context)
        return pb.SubmitEvaluationResponse(accepted=True)

    async def ReportFailure(self, request: Any, context: Any) -> pb.ReportFailureResponse:
        await self._note("ReportFailure", request, context)
        return pb.ReportFailureResponse()

    async def Leave(self, request: Any, context: Any) -> pb.LeaveResponse:
        await self._note("Leave", request, context)
        return pb.LeaveResponse()

    async def Renew(self, request: Any, context: Any) -> enrolment_pb2.Certificate:
        await self._note("Renew", request, context)
        assert self.authority is not None
        csr = x509.load_der_x509_csr(request.certificate_request)
        key = csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        leaf = self.authority.signed(key, f"spiffe://{FLEET}/client/edge")
        root = x509.load_pem_x509_certificate(self.authority.pem)
        return enrolment_pb2.Certificate(
            certificate=leaf.public_bytes(Encoding.DER),
            roots=[root.public_bytes(Encoding.DER)],
            client="edge",
            fleet=FLEET,
            coordinator_port=self.port,
        )


@asynccontextmanager
async def serving(script: Script, authority: Authority, port: int = 0) -> AsyncIterator[int]:
    """Serve a script; gives the port."""
    server = grpc.aio.server(options=list(SERVER_OPTIONS))
    coordinator_pb2_grpc.add_CoordinatorServicer_to_server(script, server)
    script.authority = authority
    bound = server.add_secure_port(f"127.0.0.1:{port}", authority.server_credentials())
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)
