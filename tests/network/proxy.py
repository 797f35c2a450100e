"""A bad network in user space: a TCP proxy on loopback whose weather a test changes while it runs.

Latency, a rate, resets, a line that stands still: for tests and benchmarks, on machines whose kernel has
no netem and without privileges. A byte is counted when it leaves the proxy, and no more than a few
kilobytes wait inside: what is counted is what was delivered.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

Direction = Literal["up", "down"]

_PIECE = 16 << 10
_BUFFER = 32 << 10
_SEGMENT = 1448
_GRAIN_S = 0.02  # a piece takes about as long at the given rate, so that a change is felt soon
_IN_FLIGHT = 4 << 20


@dataclass(frozen=True)
class Weather:
    """What the line is like. latency_s: added one way, in each direction; bytes_per_s: each direction's
    rate over all connections; cut_every_bytes: both ends of a connection are reset each time as many
    have passed in both directions together; frozen: nothing moves, sockets stay open; black_hole: a new
    connection is accepted and leads nowhere.
    """

    latency_s: float = 0.0
    bytes_per_s: float | None = None
    cut_every_bytes: int | None = None
    frozen: bool = False
    black_hole: bool = False


class Proxy:
    """One port on loopback that leads to another; `async with`, or `start` and `close`."""

    def __init__(self, port: int, weather: Weather = Weather(), host: str = "127.0.0.1") -> None:
        """host, port: where it leads. Nothing listens yet."""
        self._target = (host, port)
        self._weather = weather
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_free: dict[Direction, float] = {"up": 0.0, "down": 0.0}
        self._until_cut = weather.cut_every_bytes
        self._links: set[_Pair] = set()
        self.bytes_up = self.bytes_down = self.connections = self.cuts = 0
        self.port = 0

    @property
    def address(self) -> str:
        """HOST:PORT to connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def weather(self) -> Weather:
        """What the line is like now; setting it takes effect at once, on open connections too."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        if weather.cut_every_bytes != self._weather.cut_every_bytes:
            self._until_cut = weather.cut_every_bytes
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()

    def reset_all(self) -> None:
        """Reset every open connection, once."""
        for pair in list(self._links):
            self.cuts += 1
            pair.cut = True
            if pair.serving is not None:
                pair.serving.cancel()

    async def start(self) -> Self:
        """Listen on a free port of loopback."""
        listener = _narrow(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._spawn(self._accept())
        return self

    async def close(self) -> None:
        """Stop listening and reset what is open."""
        for pair in self._links:
            pair.cut = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    async def __aenter__(self) -> Self:
        """Start."""
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            self.connections += 1
            self._spawn(self._serve(_prepared(near)))

    async def _serve(self, near: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        far = _narrow(socket.socket())
        pair = _Pair(near, _prepared(far), asyncio.current_task())
        self._links.add(pair)
        try:
            while self._weather.black_hole:
                await self._changed.wait()
            await loop.sock_connect(far, self._target)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._forward(pair, near, far, "up"))
                ways.create_task(self._forward(pair, far, near, "down"))
        except* OSError:
            pair.cut = True  # one side went away: so does the other
        finally:
            self._links.discard(pair)
            pair.close()

    async def _forward(
        self, pair: _Pair, source: socket.socket, sink: socket.socket, direction: Direction
    ) -> None:
        line = _Line()
        reader = asyncio.ensure_future(self._fill(line, source, direction))
        try:
            await self._drain(line, pair, sink, direction)
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await reader

    async def _fill(self, line: _Line, source: socket.socket, direction: Direction) -> None:
        """Take what the source sends, no faster than the rate."""
        loop = asyncio.get_running_loop()
        while True:
            await self._thaw()
            await line.room()
            try:
                piece = await loop.sock_recv(source, self._piece())
            except OSError:
                line.broken = True
                piece = b""
            await self._pace(direction, len(piece))
            line.put(loop.time() + self._weather.latency_s, piece)
            if not piece:
                return

    async def _drain(
        self, line: _Line, pair: _Pair, sink: socket.socket, direction: Direction
    ) -> None:
        """Hand over what has been under way long enough."""
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await line.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._thaw()
            if pair.cut:
                raise ConnectionResetError
            if not piece:
                break
            allowed, pair.cut = self._allowed(piece)
            await loop.sock_sendall(sink, allowed)
            self._count(direction, len(allowed))
            if pair.cut:
                self.cuts += 1
                raise ConnectionResetError
        if line.broken:
            raise ConnectionResetError
        sink.shutdown(socket.SHUT_WR)

    async def _thaw(self) -> None:
        while self._weather.frozen:
            await self._changed.wait()

    async def _pace(self, direction: Direction, size: int) -> None:
        rate = self._weather.bytes_per_s
        if rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._next_free[direction] = max(now, self._next_free[direction]) + size / rate
        await asyncio.sleep(self._next_free[direction] - now)

    def _piece(self) -> int:
        rate = self._weather.bytes_per_s
        return _PIECE if rate is None else min(_PIECE, max(256, int(rate * _GRAIN_S)))

    def _allowed(self, piece: bytes) -> tuple[bytes, bool]:
        """Return what still passes of a piece, and whether the line is cut after it."""
        if self._until_cut is None:
            return piece, False
        allowed = piece[: self._until_cut]
        self._until_cut -= len(allowed)
        if self._until_cut > 0:
            return allowed, False
        self._until_cut = self._weather.cut_every_bytes
        return allowed, True

    def _count(self, direction: Direction, size: int) -> None:
        if direction == "up":
            self.bytes_up += size
        else:
            self.bytes_down += size


@dataclass(eq=False)
class _Pair:
    near: socket.socket
    far: socket.socket
    serving: asyncio.Task[None] | None
    cut: bool = False

    def close(self) -> None:
        """Close both; after a cut both ends see a reset (RST), and what they had not read is lost."""
        for each in (self.near, self.far):
            if self.cut:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()


class _Line:
    """Bytes under way in one direction, each piece with the loop time at which it arrives."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._moved = asyncio.Event()
        self.broken = False

    async def room(self) -> None:
        while self._size >= _IN_FLIGHT:
            await self._change()

    def put(self, due: float, piece: bytes) -> None:
        self._pieces.append((due, piece))
        self._size += len(piece)
        self._moved.set()

    async def get(self) -> tuple[float, bytes]:
        while not self._pieces:
            await self._change()
        due, piece = self._pieces.popleft()
        self._size -= len(piece)
        self._moved.set()
        return due, piece

    async def _change(self) -> None:
        # Only one side can be waiting: the line is not full and empty at once.
        self._moved.clear()
        await self._moved.wait()


def _narrow(each: socket.socket) -> socket.socket:
    """Let few bytes wait, in segments of a usual size: loopback's own would not fit, and the sender's
    kernel would take a slow line for one that stands still.
    """
    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
    return each


def _prepared(each: socket.socket) -> socket.socket:
    each.setblocking(False)
    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return each
