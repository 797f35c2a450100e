"""Blobs on their way: in parts, going on where a broken transfer has stopped.

A transfer has no deadline as a whole, as nobody knows how slow a line is; each part has one, so that what
makes no progress is broken off and tried again. Files are read and written a few megabytes at a time in a
thread, beside the transfer. The parts of an upload become smaller when the line breaks: what has not
arrived whole counts for nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from io import FileIO
from pathlib import Path

import grpc

from antiphon.client.daemon.calls import CallRefused, Interrupted, Stub
from antiphon.client.sent.recorded import RecordedDownload, RecordedUpload
from antiphon.core.blob import Blob, ModelChange
from antiphon.core.channel import CHUNK_BYTES
from antiphon.v1 import coordinator_pb2, update_pb2

UNARY_S = 30.0
"""Deadline of a small call, time to reconnect included."""

FIRST_PART = 64 << 10
"""Content of one message of the first upload, bytes; as fast as larger ones on a good line."""

_PART_S = 60.0
_SMALLEST_PART = 16 << 10
_BATCH = 2 << 20  # a thread that waits for the interpreter's lock after each step wants few steps
_MOST_UNCONFIRMED = 4 << 20  # what the buffers along the way hold after the last part was written
_SLOWEST_BYTES_PER_S = 4096
_WRONG_CONTENTS = 3


def named_blob(message: update_pb2.Blob) -> Blob:
    """Read what a message says of a blob. Raises Refused where that is malformed."""
    if len(message.sha256) != 32:
        raise CallRefused(
            f"the coordinator named a blob with {len(message.sha256)} bytes, expected a SHA-256",
            grpc.StatusCode.INVALID_ARGUMENT,
        )
    return Blob(message.sha256.hex(), message.bytes, message.encoding)


def named_change(message: update_pb2.ModelChange) -> ModelChange:
    """Read another way to a model. Raises Refused where a message says only half of it."""
    if not message.since and not message.HasField("blob"):
        return ModelChange()
    if len(message.since) != 32 or not message.HasField("blob"):
        raise CallRefused(
            f"the coordinator named a change since a model of {len(message.since)} bytes, expected a "
            "SHA-256 and a blob",
            grpc.StatusCode.INVALID_ARGUMENT,
        )
    return ModelChange(message.since.hex(), named_blob(message.blob))


class Download:
    """One blob on its way to a file. An attempt can be made again; it goes on where the last one was."""

    def __init__(self, run_id: str, blob: Blob, path: Path, arrived: Callable[[int], None]) -> None:
        """path: of the whole file; what has arrived lies in `path`.part, across restarts too.

        The file is whole for as long as the machine runs: a power cut may take what was not written yet.
        arrived: told of each part's bytes.
        """
        self._run_id, self._blob, self._path, self._arrived = run_id, blob, path, arrived
        self._part = path.with_name(f"{path.name}.part")
        self._digest = hashlib.sha256()
        self._size = -1  # the file has not been looked at
        self._known = blob.bytes
        self._wrong = 0

    async def attempt(self, stub: Stub) -> None:
        """Fetch what is missing. Raises Interrupted where the content is wrong or ends early."""
        if self._size < 0:
            await asyncio.to_thread(self._look)
        if self._size < self._blob.bytes:
            await self._fetch(stub)
        if self._size == self._blob.bytes and self._digest.hexdigest() == self._blob.sha256:
            await asyncio.to_thread(self._finish)
        elif self._size >= self._blob.bytes:
            self._reject()
        else:
            raise Interrupted("the download ended early", grpc.StatusCode.UNAVAILABLE)

    def came_further(self) -> bool:
        """Whether more has arrived than when this was last asked."""
        before, self._known = self._known, self._size
        return self._size > before

    async def _fetch(self, stub: Stub) -> None:
        request = coordinator_pb2.DownloadRequest(
            run_id=self._run_id, sha256=bytes.fromhex(self._blob.sha256), offset=self._size
        )
        call = stub.Download(request, wait_for_ready=True)
        writing: asyncio.Task[None] | None = None
        with self._part.open("ab", buffering=0) as file:
            try:
                async for batch in self._batches(call):
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(asyncio.to_thread(self._append, file, batch))
            finally:
                call.cancel()
                if writing is not None:
                    await asyncio.wait([writing])
        if writing is not None:
            writing.result()

    async def _batches(self, call: RecordedDownload) -> AsyncIterator[list[bytes]]:
        """Yield a few megabytes at a time; what had arrived before a failure, too."""
        batch: list[bytes] = []
        size, total = 0, self._size
        try:
            while total <= self._blob.bytes:
                async with asyncio.timeout(_PART_S):
                    chunk = await call.read()
                if not isinstance(chunk, coordinator_pb2.DownloadChunk):
                    break
                batch.append(chunk.content)
                size, total = size + len(chunk.content), total + len(chunk.content)
                self._arrived(len(chunk.content))
                if size >= _BATCH:
                    yield batch
                    batch, size = [], 0
        except (grpc.aio.AioRpcError, TimeoutError):
            yield batch
            raise
        yield batch

    def _look(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._digest, self._size = hashlib.sha256(), 0
        if self._part.exists():
            with self._part.open("rb") as file:
                while block := file.read(_BATCH):
                    self._digest.update(block)
                    self._size += len(block)

    def _append(self, file: FileIO, batch: list[bytes]) -> None:
        content = b"".join(batch)
        written = 0
        while written < len(content):
            written += file.write(content[written:] if written else content)
        self._digest.update(content)
        self._size += len(content)

    def _finish(self) -> None:
        self._part.touch()  # of a blob without a byte
        self._part.replace(self._path)

    def _reject(self) -> None:
        self._part.unlink(missing_ok=True)
        self._size = -1
        self._wrong += 1
        kind = CallRefused if self._wrong >= _WRONG_CONTENTS else Interrupted
        raise kind("what was downloaded is not what was named", grpc.StatusCode.DATA_LOSS)


class Upload:
    """One blob on its way to the coordinator. An attempt goes on where the coordinator says."""

    def __init__(
        self,
        run_id: str,
        blob: Blob,
        path: Path,
        sent: Callable[[int], None],
        part: int,
        allow: Callable[[int], None],
    ) -> None:
        """path: of its content; sent: told of each part's bytes, those that are lost later too; part:
        bytes of a message; allow: asked before each attempt, with the bytes that it will send.
        """
        self._allow = allow
        self._run_id, self._path, self._sent = run_id, path, sent
        self._size = blob.bytes
        self._blob = update_pb2.Blob(
            sha256=bytes.fromhex(blob.sha256), bytes=blob.bytes, encoding=blob.encoding
        )
        self.part, self._whole = part, True
        self._arrived = self._known = blob.bytes

    async def attempt(self, stub: Stub) -> None:
        """Send what is missing. Raises Interrupted where some of it still is."""
        request = coordinator_pb2.UploadStatusRequest(run_id=self._run_id, blob=self._blob)
        status = await stub.UploadStatus(request, timeout=UNARY_S, wait_for_ready=True)
        self._arrived = status.offset
        if status.offset < self._size:
            self._allow(self._size - status.offset)
            status = await self._send(stub, status.offset)
        if status.offset < self._size:
            raise Interrupted("the upload is not complete yet", grpc.StatusCode.UNAVAILABLE)

    def came_further(self) -> bool:
        """Whether the coordinator has said that it holds more than when this was last asked."""
        before, self._known = self._known, self._arrived
        return self._arrived > before

    def next_part(self) -> int:
        """Return the size of a message for the upload after this one."""
        return min(CHUNK_BYTES, 2 * self.part) if self._whole else self.part

    async def _send(self, stub: Stub, offset: int) -> coordinator_pb2.UploadStatusResponse:
        call = stub.Upload(wait_for_ready=True)
        try:
            head = coordinator_pb2.UploadChunk(run_id=self._run_id, blob=self._blob, offset=offset)
            async for content in _read_ahead(self._path, offset):
                if not await self._write(call, head, content):
                    break
                head = coordinator_pb2.UploadChunk()
            async with asyncio.timeout(_PART_S + _MOST_UNCONFIRMED / _SLOWEST_BYTES_PER_S):
                if not call.done():
                    await call.done_writing()
                answer = await call
        except (grpc.aio.AioRpcError, TimeoutError):
            self.part, self._whole = max(_SMALLEST_PART, self.part // 2), False
            raise
        finally:
            call.cancel()
        return answer

    async def _write(
        self,
        call: RecordedUpload,
        head: coordinator_pb2.UploadChunk,
        content: bytes,
    ) -> bool:
        """Send some content in parts; False where the coordinator has answered before the end.

        head: what the first message says beside its content.
        """
        for start in range(0, len(content), self.part):
            piece = content[start : start + self.part]
            head.content = piece
            try:
                async with asyncio.timeout(_PART_S):
                    await call.write(head)
            except asyncio.InvalidStateError:
                return False
            head = coordinator_pb2.UploadChunk()
            self._sent(len(piece))
        return True


async def _read_ahead(path: Path, offset: int) -> AsyncIterator[bytes]:
    """Yield a file from an offset on, megabytes at a time; the next are read while some are in use."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        content = await asyncio.to_thread(file.read, _BATCH)
        while content:
            following = asyncio.create_task(asyncio.to_thread(file.read, _BATCH))
            try:
                yield content
            finally:
                content = await following
