"""Packing on other cores: what a client sends is packed and written while further clients train.

Hashing, compressing and writing let go of the interpreter. What comes out depends on no thread: every
client packs for itself, one update at a time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from antiphon.client.sender import Sender
from antiphon.core.errors import UpdateError
from antiphon.core.files import write_cache
from antiphon.core.run_folder import RunFolder
from antiphon.core.run_sections import CompressionConfig
from antiphon.core.types import Assignment, Update
from antiphon.core.wire import update_blob

_MOST_THREADS = 8
_SMALL_BYTES = 1 << 18
"""What is smaller is packed at once: handing it to another thread takes longer than packing it."""


@dataclass(frozen=True)
class PackedUpdate:
    """An update on its way: its message, and its bytes on the wire with the blob that it names.

    The blob lies where the coordinator looks for uploads.
    """

    message: bytes
    bytes: int


class Packing:
    """Packs the updates of a run's clients. Holds a few of them in memory, however many are sent."""

    def __init__(
        self,
        folder: RunFolder,
        compression: CompressionConfig,
        run_id: str,
        inline: Collection[str] = (),
    ) -> None:
        """Start no thread before there is work. inline: see Sender."""
        self._folder, self._compression, self._run_id = folder, compression, run_id
        self._inline = inline
        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="packing")
        self._pending: deque[Future[PackedUpdate]] = deque()
        self._most_pending = 2 * threads
        self._last: dict[str, Future[PackedUpdate]] = {}

    def __enter__(self) -> Packing:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is under way, and drop what has not begun."""
        self._pool.shutdown(cancel_futures=True)

    def begin(self, update: Update, assignment: Assignment) -> Future[PackedUpdate]:
        """Begin to pack an update; its letter, or UpdateError where no codec packs it, comes later.

        A client sends one update at a time: what an earlier one has left, which was called off on its
        way, is removed.
        """
        client = assignment.client
        if client in self._last:
            self._remove_left(client, self._last[client])
        if sum(each.nbytes for each in update.payload.arrays.values()) <= _SMALL_BYTES:
            packing = self._packed_at_once(update, assignment)
        else:
            while len(self._pending) >= self._most_pending:
                self._pending.popleft().exception()  # waits; whoever asks for the letter hears of it
            packing = self._pool.submit(self._pack, update, assignment)
            self._pending.append(packing)
        self._last[client] = packing
        return packing

    def _packed_at_once(self, update: Update, assignment: Assignment) -> Future[PackedUpdate]:
        packing = Future[PackedUpdate]()
        try:
            packing.set_result(self._pack(update, assignment))
        except UpdateError as error:
            packing.set_exception(error)
        return packing

    def _remove_left(self, client: str, packing: Future[PackedUpdate]) -> None:
        if packing.exception() is None and (blob := update_blob(packing.result().message)):
            self._folder.upload_file(client, blob.sha256).unlink(missing_ok=True)

    def _pack(self, update: Update, assignment: Assignment) -> PackedUpdate:
        client = assignment.client
        sender = Sender(self._folder.residuals(client), self._compression, self._inline)
        packed = sender.pack(update, assignment, self._run_id)
        blob = update_blob(packed.message)
        if blob is not None and packed.content is not None:
            write_cache(self._folder.upload_file(client, blob.sha256), packed.content)
        return PackedUpdate(packed.message, packed.size)
