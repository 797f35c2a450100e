"""Uploads on their way to the disk: resumable by offset, named by their hash, bounded.

A client has one upload at a time: the blob of the update that it has announced. What arrives is written
and hashed beside the event loop; what a cut connection leaves behind is where the next one goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TypeVar

from antiphon.core import fault_points, write_back
from antiphon.core.blob import Blob
from antiphon.core.errors import AntiphonError, UpdateError
from antiphon.core.files import full_disk_is_said, make_folders
from antiphon.core.run_folder import RunFolder

# A trip to a thread costs as much as writing a tenth of the largest batch. All of them fit the sum.
_LARGEST_BATCH, _SMALLEST_BATCH, _ALL_BATCHES = 1 << 20, 64 << 10, 16 << 20
_READ_BYTES = 1 << 20

T = TypeVar("T")


class NotAnnounced(AntiphonError):
    """No update of this client waits for the blob: it must be handed in (again) first."""


class Superseded(AntiphonError):
    """A newer call of the same client goes on with its upload."""


class NoRoom(AntiphonError):
    """The disk has too little space left: try again later."""


@dataclass
class _Part:
    """A file that grows, and the hash of what is in it."""

    file: FileIO
    hash: hashlib._Hash
    size: int = 0

    def take_in(self) -> None:
        """Hash what is there already; the next write goes behind it."""
        while content := self.file.read(_READ_BYTES):
            self.hash.update(content)
            self.size += len(content)

    def write_all(self, contents: Sequence[bytes]) -> None:
        """Write pieces, one behind the other."""
        for content in contents:
            self._write(content)

    def write_ahead(self, contents: Sequence[bytes]) -> None:
        """Write pieces and let the disk begin with them; not for the event loop: the disk may be busy."""
        before = self.size
        self.write_all(contents)
        write_back.begin(self.file.fileno(), before, self.size - before)

    def _write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:  # a disk that becomes full takes a part of a write without an error
            written = self.file.write(left)
            self.hash.update(left[:written])
            self.size += written
            left = left[written:]


@dataclass(eq=False)
class _AtWork:
    """Who works on a client's files; left: set when it has let them go."""

    task: asyncio.Task[object]
    left: asyncio.Event = field(default_factory=asyncio.Event)


class Spool:
    """The uploads of one run. max_bytes: of one upload; floor_bytes: of disk that must stay free."""

    def __init__(self, folder: RunFolder, *, max_bytes: int, floor_bytes: int) -> None:
        """Nothing is announced; what an earlier coordinator left on the disk is gone on with."""
        self._folder = folder
        self._announced: dict[str, Blob] = {}
        self._at_work: dict[str, _AtWork] = {}
        self._superseded: set[asyncio.Task[object]] = set()
        self.max_bytes, self.floor_bytes = max_bytes, floor_bytes

    async def announce(self, client: str, blob: Blob, most: int | None = None) -> int:
        """Let a client upload a blob, and no other; return how many of its bytes are here.

        most: bytes that its task can come to; none: as any upload's. Whoever announces is not uploading:
        what an upload before this one has received is settled first. Raises UpdateError for one that is
        too large, NoRoom where it would not fit on the disk.
        """
        most = self.max_bytes if most is None else min(most, self.max_bytes)
        if not 0 < blob.bytes <= most:
            raise UpdateError(f"an upload of {blob.bytes} bytes, expected 1 to {most}")
        async with self._alone(client):
            here = await self._settled(client, blob)
            self._check_room(blob.bytes - here)
            if self._announced.get(client) != blob:
                self._announced[client] = blob
                self._remove_others(client, blob)
            return here

    async def arrived(self, client: str, blob: Blob) -> int:
        """Return how many bytes of an announced blob are here. Raises NotAnnounced."""
        async with self._alone(client):
            return await self._arrived(client, blob)

    def forget(self, client: str, blob: Blob) -> None:
        """Remove what a client has uploaded of a blob: it has become an update, or will not."""
        if self._announced.get(client, blob) == blob:  # else a newer one is on its way
            self._announced.pop(client, None)
            shutil.rmtree(self._folder.uploads(client), ignore_errors=True)

    async def clear(self, client: str) -> None:
        """Remove all that a client has uploaded, and end what it uploads now: it takes no part."""
        async with self._alone(client):
            self._announced.pop(client, None)
            await _whole(
                asyncio.to_thread(shutil.rmtree, self._folder.uploads(client), ignore_errors=True)
            )

    def free_bytes(self) -> int:
        """Return the free space of the run's disk."""
        return shutil.disk_usage(self._folder.path).free

    async def receive(
        self, client: str, blob: Blob, offset: int, chunks: AsyncIterator[bytes]
    ) -> int:
        """Write an upload that goes on at `offset`; return the bytes that are here when it ends.

        The blob is whole, compared with its hash and on the disk once that is its size. A newer call for
        the same client ends this one. Raises Superseded then, NotAnnounced, UpdateError where offset,
        size or hash are wrong, NoRoom or RunFolderError where the disk is full, and what `chunks` raises;
        what came before is kept.
        """
        async with self._alone(client):
            here = await self._arrived(client, blob)
            if here == blob.bytes:
                return here
            if offset != here:
                raise UpdateError(
                    f"the upload goes on at {offset}, expected {here}: ask UploadStatus"
                )
            return await self._receive(client, blob, chunks)

    @asynccontextmanager
    async def _alone(self, client: str) -> AsyncIterator[None]:
        """Be the only one that works on a client's files: ends who does, and is ended by the next.

        Raises Superseded in the one that is ended.
        """
        task = asyncio.current_task()
        assert task is not None
        while (before := self._at_work.get(client)) is not None:
            self._superseded.add(before.task)
            before.task.cancel()
            await before.left.wait()  # not the whole call: its answer may go to a line that is dead
        self._at_work[client] = mine = _AtWork(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._superseded:
                raise
            task.uncancel()
            raise Superseded("a newer call of this client goes on with the upload") from None
        finally:
            self._superseded.discard(task)
            del self._at_work[client]
            mine.left.set()

    def _check_room(self, wanted: int = 0) -> None:
        free = self.free_bytes()
        if free - wanted < self.floor_bytes:
            raise NoRoom(f"{free / 1e6:.0f} MB free, {self.floor_bytes / 1e6:.0f} kept free")

    async def _receive(self, client: str, blob: Blob, chunks: AsyncIterator[bytes]) -> int:
        with full_disk_is_said(self._folder.path):
            part = _opened(self._part_file(client, blob))
            try:
                await _whole(asyncio.to_thread(part.take_in))
                await _write_all(part, chunks, blob.bytes, self._check_room, self._batch_bytes)
            finally:
                part.file.close()
            if part.size == blob.bytes:
                await _whole(asyncio.to_thread(self._finish, client, blob, part))
        return part.size

    def _batch_bytes(self) -> int:
        """How much of one upload is held in memory before it is written: less, the more there are."""
        share = _ALL_BATCHES // max(1, len(self._at_work))
        return max(_SMALLEST_BATCH, min(_LARGEST_BATCH, share))

    async def _arrived(self, client: str, blob: Blob) -> int:
        here = await self._settled(client, blob)
        if self._announced.get(client) != blob:
            raise NotAnnounced("no update waits for this upload: hand the update in again first")
        return here

    async def _settled(self, client: str, blob: Blob) -> int:
        """Finish an upload that only lacks its name; return the bytes that are here."""
        file = self._part_file(client, blob)
        if file.is_file() and file.stat().st_size >= blob.bytes:
            with suppress(UpdateError):  # not what was named: it begins again
                await _whole(asyncio.to_thread(self._finish_left, client, blob, file))
        if self._folder.upload_file(client, blob.sha256).is_file():
            return blob.bytes
        return file.stat().st_size if file.is_file() else 0

    def _finish_left(self, client: str, blob: Blob, file: Path) -> None:
        part = _opened(file)
        with part.file:
            part.take_in()
        self._finish(client, blob, part)

    def _finish(self, client: str, blob: Blob, part: _Part) -> None:
        file = self._part_file(client, blob)
        if part.hash.hexdigest() != blob.sha256:
            file.unlink(missing_ok=True)
            raise UpdateError(
                f"the upload's SHA-256 is {part.hash.hexdigest()}, its message names {blob.sha256}"
            )
        _sync(file)
        file.rename(self._folder.upload_file(client, blob.sha256))
        _sync(file.parent)
        fault_points.reached("upload spooled")

    def _part_file(self, client: str, blob: Blob) -> Path:
        return self._folder.uploads(client) / f"{blob.sha256}.part"

    def _remove_others(self, client: str, blob: Blob) -> None:
        folder = self._folder.uploads(client)
        make_folders(folder)
        for file in folder.iterdir():
            if not file.name.startswith(blob.sha256):
                file.unlink(missing_ok=True)


async def _write_all(
    part: _Part,
    chunks: AsyncIterator[bytes],
    size: int,
    check_room: Callable[[], None],
    batch_bytes: Callable[[], int],
) -> None:
    """Write what arrives, each batch while the next one arrives; nothing that has arrived is lost."""
    writing: asyncio.Future[None] | None = None
    loop = asyncio.get_running_loop()
    pending: list[bytes] = []
    held, expected = 0, part.size
    try:
        async for chunk in chunks:
            expected += len(chunk)
            if expected > size:
                raise UpdateError(
                    f"the upload is longer than the {size} bytes that its message names"
                )
            check_room()
            pending.append(chunk)
            held += len(chunk)
            if held >= batch_bytes():
                if writing is not None:
                    await _whole(writing)
                writing = loop.run_in_executor(None, part.write_ahead, pending)
                pending, held = [], 0
    finally:
        if writing is not None:
            await _whole(writing)
        part.write_all(pending)


async def _whole(work: Awaitable[T]) -> T:
    """Await work in a thread to its end, also when this task is cancelled meanwhile: files are at stake."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def _opened(file: Path) -> _Part:
    make_folders(file.parent)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    return _Part(FileIO(descriptor, "r+"), hashlib.sha256())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
