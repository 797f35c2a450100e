"""The only way out of a site: a channel that notes each message in the ledger before it leaves.

It stands where the stub of a service takes its methods from, so that a new call of the protocol cannot
pass beside it. Where the ledger cannot be written, LedgerError is raised and no byte leaves, of a stream
none of its messages either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self

import grpc

from antiphon.client.sent.book import Book, Noted
from antiphon.client.sent.entries import ANSWERED, NO_ANSWER, REFUSED
from antiphon.client.sent.purposes import PURPOSES, Describer, content_bytes, verdict_of
from antiphon.core.channel import secure_channel
from antiphon.v1 import coordinator_pb2

_Code = grpc.StatusCode
_NOBODY_ANSWERED = frozenset(
    {_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.CANCELLED, _Code.UNKNOWN, _Code.INTERNAL}
)


def site_channel(
    address: str, credentials: grpc.ChannelCredentials, fleet: str, book: Book
) -> RecordedChannel:
    """Open a channel from this site to a fleet's coordinator at HOST:PORT."""
    return RecordedChannel(secure_channel(address, credentials, fleet), book, address)


class RecordedChannel:
    """A channel for the stubs of a client."""

    def __init__(self, channel: grpc.aio.Channel, book: Book, to: str) -> None:
        """to: HOST:PORT at the other end."""
        self._channel, self._book, self._to = channel, book, to
        self._describer = Describer()

    async def __aenter__(self) -> Self:
        """Use it for a while."""
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Close it; calls under way fail."""
        await self._channel.close()

    def get_state(self) -> grpc.ChannelConnectivity:
        """Return whether it is connected."""
        return self._channel.get_state()

    def unary_unary(self, path: str, *how: Any, **named: Any) -> Callable[..., Awaitable[Any]]:
        """Return the method of a stub; its name must be one of PURPOSES."""
        call, note = self._channel.unary_unary(path, *how, **named), self._notes(path)

        async def noted(request: Any, **options: Any) -> Any:
            entry = note(request)
            try:
                response = await call(request, **options)
                entry.verdict = verdict_of(response)
            except grpc.aio.AioRpcError as error:
                entry.failed(error)
                raise
            finally:
                entry.end()
            return response

        return noted

    def unary_stream(self, path: str, *how: Any, **named: Any) -> Callable[..., RecordedDownload]:
        """Return the method of a stub; its name must be one of PURPOSES."""
        call, note = self._channel.unary_stream(path, *how, **named), self._notes(path)
        return lambda request, **options: RecordedDownload(
            lambda: call(request, **options), lambda: note(request)
        )

    def stream_unary(self, path: str, *how: Any, **named: Any) -> Callable[..., RecordedUpload]:
        """Return the method of a stub; its name must be one of PURPOSES."""
        call, note = self._channel.stream_unary(path, *how, **named), self._notes(path)
        return lambda **options: RecordedUpload(lambda: call(**options), note)

    def _notes(self, path: str) -> Callable[[Any], _Entry]:
        method = path.rpartition("/")[2]
        purpose = PURPOSES[method]

        def note(message: Any) -> _Entry:
            sending = self._describer.sending(self._to, method, message)
            noted = self._book.begin(sending, counted=purpose.counted)
            return _Entry(self._book, noted, sending.bytes or 0)

        return note


class _Entry:
    """A message in the ledger that has no answer there yet; one is written at the end, whatever happens."""

    def __init__(self, book: Book, noted: Noted, size: int) -> None:
        self._book, self._noted = book, noted
        self.bytes, self.verdict = size, NO_ANSWER
        self._ended = False

    def failed(self, error: grpc.aio.AioRpcError) -> None:
        self.verdict = NO_ANSWER if error.code() in _NOBODY_ANSWERED else REFUSED

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._book.end(self._noted, self.verdict, self.bytes)


class RecordedDownload:
    """A download: it begins with the first `read`, when it is in the ledger."""

    def __init__(self, start: Callable[[], Any], note: Callable[[], _Entry]) -> None:
        """start: makes the call; note: writes it down."""
        self._start, self._note = start, note
        self._call: Any = None
        self._entry: _Entry | None = None

    async def read(self) -> Any:
        """Return the next message, or grpc.aio.EOF."""
        if self._entry is None:
            self._entry = self._note()
            self._call = self._start()
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._entry.failed(error)
            raise
        self._entry.verdict = ANSWERED
        return message

    def cancel(self) -> None:
        """End it; it must be called in any case."""
        if self._call is not None:
            self._call.cancel()
        if self._entry is not None:
            self._entry.end()


class RecordedUpload:
    """An upload: it begins with the first `write`, when it is in the ledger."""

    def __init__(self, start: Callable[[], Any], note: Callable[[Any], _Entry]) -> None:
        """start: makes the call; note: writes it down, from its first message."""
        self._start, self._note = start, note
        self._call: Any = None
        self._entry: _Entry | None = None

    async def write(self, message: Any) -> None:
        """Send a message. Raises as grpc's does, and LedgerError before the first."""
        call, entry = self._begun(message)
        # What was handed over may have left, whether the write succeeds or not.
        entry.bytes += content_bytes(message)
        try:
            await call.write(message)
        except grpc.aio.AioRpcError as error:
            entry.failed(error)
            raise

    def done(self) -> bool:
        """Tell whether the other side has answered."""
        return self._call is not None and bool(self._call.done())

    async def done_writing(self) -> None:
        """Say that nothing more comes."""
        call, _ = self._begun(coordinator_pb2.UploadChunk())
        await call.done_writing()

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the answer."""
        return self._answer().__await__()

    def cancel(self) -> None:
        """End it; it must be called in any case."""
        if self._call is not None:
            self._call.cancel()
        if self._entry is not None:
            self._entry.end()

    def _begun(self, first: Any) -> tuple[Any, _Entry]:
        if self._entry is None:
            self._entry = self._note(first)
            self._entry.bytes = 0
            self._call = self._start()
        return self._call, self._entry

    async def _answer(self) -> Any:
        call, entry = self._begun(coordinator_pb2.UploadChunk())
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            entry.failed(error)
            raise
        entry.verdict = verdict_of(response)
        return response
