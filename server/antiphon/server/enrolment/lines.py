"""The connections of a server: how many a caller may have, and what they may send that no call asked for.

A connection is nobody's until a call on it is let in. What it sends is known from the kernel, what its
calls have taken from their handlers: the difference is headers, and what is under way. A block of headers
without an end costs gRPC many times its bytes, so that little is allowed; who sends more is cut off.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from antiphon.server.enrolment.doorbell import Doorbell
from antiphon.server.enrolment.failure_limit import network_of
from antiphon.server.enrolment.shut_out import shut_out
from antiphon.server.enrolment.sockets import Connection, Peer, Sockets, cut, listeners, peer_of

EACH_CALLER = 2
"""Connections of one client; ours have one, and that of a line that has just gone."""
EACH_ADDRESS = 1_024
"""Connections of one address that no client has called on yet."""
SILENT_S = 15.0
"""Time that a connection is given to make a call that is let in, seconds."""
FREE_BYTES, FREE_BYTES_OF_A_CALLER = 64 << 10, 768 << 10
"""What a connection may send besides: handshake, settings, pings, the beginning of a call not yet seen."""
BARRED_S = 60.0
"""Time for which a client is let in no more whose connection was cut for what it sent, seconds."""

MOST_CUTS = 4
"""Connections of one address that are cut for what they sent, before it is shut out for a while."""
SHUT_OUT_S = 60.0
"""For how long: no connection of it is taken, seconds; also the time in which its cuts are counted."""

_BYTES_A_CALL, _BYTES_A_S = 8 << 10, 4 << 10
_OVERHEAD = 1.25
_LOOK_EVERY_S, _SHARE = 0.1, 0.02
_LOOK_CLOSELY_EVERY_S, _AWAKE_S = 0.02, 1.0  # while somebody has just connected

log = structlog.get_logger()

Took = Callable[[int], None]


@dataclass(frozen=True)
class Room:
    """Bytes that a call may have under way: all the time where it is a stream, else before its message."""

    size: int
    stream: bool = False


@dataclass(eq=False)
class _Line:
    """What is known of a connection. taken: bytes of messages; room: bytes that its open calls may have
    under way; used: when a call on it began or ended last.
    """

    since: float
    used: float
    caller: str = ""
    calls: int = 0
    taken: int = 0
    room: int = 0
    open: int = 0
    cut: bool = False

    def allowed(self, now: float) -> float:
        """Return the bytes that it may have sent by now."""
        ours = self.calls * _BYTES_A_CALL + (now - self.since) * _BYTES_A_S
        free = FREE_BYTES_OF_A_CALLER if self.caller else FREE_BYTES
        return free + ours + _OVERHEAD * self.taken + self.room


class Lines:
    """The connections of one server. `watched` looks at them; calls tell of themselves with `call`.

    now: seconds of a clock that is never set; each_caller, each_address: see EACH_CALLER, EACH_ADDRESS.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        *,
        each_caller: int = EACH_CALLER,
        each_address: int = EACH_ADDRESS,
    ) -> None:
        """Nothing is connected."""
        self._now, self._each_caller, self._each_address = now, each_caller, each_address
        self._lines: dict[Peer, _Line] = {}
        self._barred: dict[str, float] = {}  # until when
        self._cuts: dict[str, list[float]] = {}  # by network: when
        self._out: tuple[str, ...] = ()
        self._port = 0
        self._sockets: Sockets | None = None
        self._lock, self._looking = threading.Lock(), threading.Lock()

    @contextmanager
    def call(self, peer: str, caller: str, room: Room) -> Iterator[Took]:
        """Count a call that is handled; gives what is told the size of each message that it has taken.

        peer: gRPC's name of it; caller: a client, empty where nobody has shown who it is.
        """
        where, now, left = peer_of(peer), self._now(), room.size
        with self._lock:
            fresh = _Line(now, now)
            line = fresh if where is None else self._lines.setdefault(where, fresh)
            line.caller, line.used = caller or line.caller, now
            line.calls += 1
            line.open += 1
            line.room += left

        def took(size: int) -> None:
            nonlocal left
            with self._lock:
                line.taken += size
                if not room.stream:  # nothing comes behind its message
                    line.room -= left
                    left = 0

        try:
            yield took
        finally:
            with self._lock:
                line.open -= 1
                line.room -= left
                line.used = self._now()

    def barred_s(self, caller: str) -> float:
        """Return for how long a client is not let in, seconds; 0: it is."""
        return max(0.0, self._barred.get(caller, 0.0) - self._now())

    def shut_out(self) -> tuple[str, ...]:
        """Return the networks whose connections are not to be taken now, the one cut last behind."""
        oldest = self._now() - SHUT_OUT_S
        recent = {
            name: [when for when in cuts if when > oldest] for name, cuts in self._cuts.items()
        }
        self._cuts = {name: cuts for name, cuts in recent.items() if cuts}
        return tuple(name for name, cuts in self._cuts.items() if len(cuts) >= MOST_CUTS)

    @contextmanager
    def watched(self, port: int) -> Iterator[None]:
        """Cut off what breaks the budgets of the server at `port`, until the block ends."""
        # In a thread of its own: gRPC parses a flood's headers in whichever thread comes by, which may be
        # the event loop's for seconds.
        self._port, self._sockets = port, Sockets(port)
        bell = Doorbell([each.descriptor for each in listeners(port)])
        thread = threading.Thread(target=self._watch, args=(bell,), name="lines", daemon=True)
        thread.start()
        try:
            yield
        finally:
            bell.end()
            thread.join()
            bell.close()

    async def hang_up(self, peer: str, reason: str) -> None:
        """Cut off the connection that gRPC calls `peer`, with all its calls."""
        where = peer_of(peer)
        for each in await asyncio.to_thread(self._seen):
            if each.peer == where:
                self._cut(each, reason)

    def _watch(self, bell: Doorbell) -> None:
        wait_s, awake_until = _LOOK_EVERY_S, 0.0
        while (rang := bell.wait(wait_s, asleep=time.monotonic() > awake_until)) is not None:
            start = time.monotonic()
            if rang:
                awake_until = start + _AWAKE_S
            try:
                self._look()
            except Exception as error:  # the watch must outlive a full table of files
                log.error("connections not seen", reason=str(error)[:200])
            end = time.monotonic()
            pause_s = _LOOK_CLOSELY_EVERY_S if end < awake_until else _LOOK_EVERY_S
            wait_s = max(pause_s, (end - start) / _SHARE)

    def _look(self) -> None:
        as_of = self._now()
        seen = self._seen()
        with self._lock:
            excess = self.excess(seen, as_of)
            out = self.shut_out()
        for connection, reason in excess:
            self._cut(connection, reason)
        if out != self._out:
            self._out = out
            self._shut_out(out)

    def _shut_out(self, networks: tuple[str, ...]) -> None:
        log.warning("connections from these are not taken", networks=list(networks))
        for listener in listeners(self._port):
            with listener.handle() as handle:
                shut_out(handle, networks)

    def _seen(self) -> list[Connection]:
        with self._looking:
            return [] if self._sockets is None else self._sockets.connections()

    def _cut(self, connection: Connection, reason: str) -> None:
        if cut(connection):
            line = self._lines.get(connection.peer)
            client = line.caller if line else ""
            log.warning("connection cut", peer=connection.peer[0], client=client, reason=reason)

    def excess(self, seen: Iterable[Connection], as_of: float) -> list[tuple[Connection, str]]:
        """Return what is to be cut off of all that was connected, and why; forget what was not there.

        as_of: when they were looked for, or just before: what came later is not known to be gone.
        """
        now = self._now()
        here = {each.peer: each for each in seen}
        self._lines = {
            peer: line
            for peer, line in self._lines.items()
            if peer in here or line.open or line.used >= as_of
        }
        for peer in here:
            self._lines.setdefault(peer, _Line(now, now))
        reasons = {peer: self._reason(here[peer], now) for peer in here}
        groups: dict[str, list[Peer]] = defaultdict(list)
        for peer in here:
            caller = self._lines[peer].caller
            groups[f"client {caller}" if caller else network_of(peer[0])].append(peer)
        for name, peers in groups.items():
            most = self._each_caller if self._lines[peers[0]].caller else self._each_address
            peers.sort(key=lambda peer: (self._lines[peer].open > 0, self._lines[peer].used))
            for peer in peers[: max(0, len(peers) - most)]:
                reasons[peer] = f"{name} has {len(peers)} connections, expected {most} at most"
        return [(here[peer], reason) for peer, reason in reasons.items() if reason]

    def _reason(self, connection: Connection, now: float) -> str:
        line = self._lines[connection.peer]
        if connection.received > (allowed := line.allowed(now)):
            if line.caller:
                self._barred[line.caller] = now + BARRED_S
            elif not line.cut:
                line.cut = True
                network = network_of(connection.peer[0])
                self._cuts[network] = [*self._cuts.pop(network, ()), now]
            return f"{connection.received} bytes, expected {allowed:.0f} at most of its calls"
        if not line.caller and not line.open and now - line.used > SILENT_S:
            return f"no call within {SILENT_S:g} s"
        return ""
