"""Downloads at once: two of a client, and all together within their share of memory.

What a reader that has stopped leaves behind is held by gRPC as long as its connection lives: such a
connection is hung up on.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from antiphon.core.channel import CHUNK_BYTES
from antiphon.core.errors import AntiphonError, UpdateError
from antiphon.core.run_folder import RunFolder

EACH = 2
"""Downloads at once of one client; ours have one, and that of a line that has just gone."""
MOST = 256
"""Downloads at once."""
BUDGET_BYTES = 32 << 20
"""What all of them together read ahead, about."""
PATIENCE_S = 10.0
"""Where all places are taken, the reader of one that has not moved for so long loses it, seconds."""

_LARGEST, _SMALLEST = 4 * CHUNK_BYTES, CHUNK_BYTES // 4
_COPIES = 4  # of a piece: read, being read, on its way to gRPC, and there


class NoSuchModel(AntiphonError):
    """The model is not there to be read, or not any more."""


class TooManyDownloads(AntiphonError):
    """The client, or everybody together, has as many downloads as may be: try again later."""


HangUp = Callable[[str], Awaitable[None]]
"""Ends a connection, by gRPC's name of its peer."""


@dataclass(eq=False)
class _Place:
    """A download. moved: when its reader last took something."""

    peer: str
    moved: float
    ended: asyncio.Task[None] | None = field(default=None)


class Downloads:
    """The places of one coordinator. now: seconds of a clock that is never set."""

    def __init__(
        self, now: Callable[[], float], hang_up: HangUp, *, each: int = EACH, most: int = MOST
    ) -> None:
        """All places are free. each, most: see EACH and MOST."""
        self._now, self._hang_up, self._each, self._most = now, hang_up, each, most
        self._places: dict[_Place, None] = {}
        self._of: Counter[str] = Counter()

    @contextmanager
    def place(self, client: str, peer: str) -> Iterator[Callable[[], None]]:
        """Take a place; gives what is told that the reader has taken something. Raises TooManyDownloads.

        peer: gRPC's name of the connection's other end.
        """
        if self._of[client] >= self._each:
            raise TooManyDownloads(f"{client} has {self._each} downloads, as many as one may have")
        if len(self._places) >= self._most:
            self._make_room()
            raise TooManyDownloads(f"{self._most} downloads go on, as many as may: try again")
        mine = _Place(peer, self._now())
        self._places[mine] = None
        self._of[client] += 1

        def moved() -> None:
            mine.moved = self._now()

        try:
            yield moved
        finally:
            del self._places[mine]
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]

    def piece_bytes(self) -> int:
        """Return how much one download reads at a time: less, the more there are."""
        share = BUDGET_BYTES // (_COPIES * max(1, len(self._places)))
        return max(_SMALLEST, min(_LARGEST, share))

    async def give_up(self, peer: str) -> None:
        """End a download whose reader has stopped, with its connection."""
        await self._hang_up(peer)

    def _make_room(self) -> None:
        stalled = min(self._places, key=lambda each: each.moved)
        if stalled.ended is None and self._now() - stalled.moved >= PATIENCE_S:
            stalled.ended = asyncio.ensure_future(self.give_up(stalled.peer))


def opened_model(folder: RunFolder, sha256: bytes, offset: int) -> BinaryIO:
    """Return what clients download, from an offset on. Raises NoSuchModel, or UpdateError for another
    offset."""
    file = folder.model_blob(sha256.hex()[:64])
    try:
        stream = file.open("rb", buffering=0)
    except OSError:
        raise NoSuchModel("no such model now: ask for a new task") from None
    size = os.fstat(stream.fileno()).st_size
    if len(sha256) != 32 or offset > size:
        stream.close()
        raise UpdateError(f"offset {offset} of a model of {size} bytes")
    stream.seek(offset)
    return stream


async def read_ahead(
    stream: BinaryIO, piece_bytes: Callable[[], int]
) -> AsyncGenerator[bytes, None]:
    """Yield a file's content from where it stands, each piece read while the one before is sent."""
    reading = _reading(stream, piece_bytes())
    try:
        while content := await reading:
            reading = _reading(stream, piece_bytes())
            for start in range(0, len(content), CHUNK_BYTES):
                yield content[start : start + CHUNK_BYTES]
    finally:
        await asyncio.wait([reading])


def _reading(stream: BinaryIO, size: int) -> asyncio.Future[bytes]:
    future = asyncio.ensure_future(asyncio.to_thread(stream.read, size))
    # Who hangs up closes the file, perhaps before this read begins: nobody is left to hear that it failed.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future
