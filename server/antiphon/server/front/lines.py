"""The connections of a server: how many a caller may have, and what they may send that no call asked for.

A connection is nobody's until a call on it is let in. What it sends beside its calls is headers, and a
block of headers costs gRPC and the interpreter up to 320 times its bytes, as long as the peer has not
acknowledged gRPC's settings. So a stranger may send little, and few strangers may at once; a client some
more; and only who has been there for longer than gRPC waits for that acknowledgement as much as calls need.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from antiphon.core.channel import SETTINGS_TIMEOUT_S
from antiphon.server.front.credit import Credit
from antiphon.server.front.peers import Peer, network_of, number_of
from antiphon.server.front.seats import Seats
from antiphon.server.front.trespasses import Trespasses

EACH_CALLER = 2
"""Connections of one client; ours have one, and that of a line that has just gone."""
EACH_ADDRESS = 1_024
"""Connections of one address that no client has called on yet."""
MOST = 100_000
"""Connections of all; fewer where the process may not have as many descriptors."""

SEATS_EACH, SEATS = 24, 96
"""Connections of one address, and of all, that are let to make their first call at the same time."""
LARGE_EACH, LARGE = 4, 16
"""The same, of those whose first call is a large one."""
STRANGER_BYTES, LARGE_BYTES = 6 << 10, 26 << 10
"""What they may send for it: handshake, settings, headers; and a whole record of TLS besides."""
YOUNG_BYTES, SETTLED_BYTES = 80 << 10, 768 << 10
"""What a client's connection may send beside its calls, before and after its settings must have been
acknowledged: a whole Join of a large model; and what was under way to a call that has ended, above all.
The first is one balance for all of a client's connections, those that it has left included.
"""
SETTLED_S = SETTINGS_TIMEOUT_S + 1.0
"""From when on that is, seconds after its first call was let in."""

SILENT_S, PRESSED_S, WAIT_S = 15.0, 5.0, 30.0
"""Time that a connection is given to make a call that is let in; while others wait for it; and time that
it may wait itself for its turn, seconds.
"""
STUCK_S = 15.0
"""Time that a connection may stand still for what it sent and no call asked for, seconds."""
BARRED_S = 60.0
"""Time for which a client is let in no more whose connection was cut for that, seconds."""

_BYTES_A_CALL, _OF_ANSWERS, _OVERHEAD = 512, 1 / 64, 1.25
_YOUNG_BYTES_A_S, _BYTES_A_S = (
    32 << 10,
    4 << 10,
)  # a line that breaks often spends much that never arrives
_MOST_CLIENTS = 10_000  # whose balance is remembered
_ENOUGH_BYTES = 16 << 10
_FLOOD, _FRUITLESS, _TOO_MUCH = 150, 1, 600  # trespasses of an address within a minute

log = structlog.get_logger()

Took = Callable[[int], None]


@dataclass(frozen=True)
class Room:
    """Bytes that a call may have under way: all the time where it is a stream, else before its message."""

    size: int
    stream: bool = False


@dataclass(eq=False)
class Line:
    """What is known of a connection. number: 0: it came through no front; used: when it got its turn, or a
    call on it began or ended last; room: bytes that its open calls may have under way; paused: it has
    sent more than it may, and waits.
    """

    number: int
    peer: Peer
    network: str
    used: float
    caller: str = ""
    seated: bool = False
    large: bool = False
    known_since: float = 0.0
    settled: bool = False
    called: bool = False
    open: int = 0
    room: int = 0
    paused: bool = False
    stuck_since: float | None = None
    cut: str = ""
    credit: Credit = field(default_factory=lambda: Credit(STRANGER_BYTES))


@dataclass(frozen=True)
class Orders:
    """What the front is to do: read on from some, and cut others off."""

    resume: tuple[Line, ...]
    cut: tuple[Line, ...]


class Lines:
    """The connections of one server. The front tells of them, calls tell of themselves with `call`.

    now: seconds of a clock that is never set; each_caller, each_address, most: see EACH_CALLER and so on.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        *,
        each_caller: int = EACH_CALLER,
        each_address: int = EACH_ADDRESS,
        most: int = MOST,
    ) -> None:
        """Nothing is connected."""
        self._now, self._each_caller, self._each_address = now, each_caller, each_address
        self.most = most
        self.on_orders: Callable[[], None] = lambda: None
        self._lines: dict[int, Line] = {}
        self._strangers: dict[str, dict[Line, None]] = {}  # by network, oldest first
        self._of: dict[str, dict[Line, None]] = {}  # by client
        self._waiting: dict[Line, None] = {}
        self._paused: dict[Line, None] = {}
        self._seats, self._large = Seats(SEATS_EACH, SEATS), Seats(LARGE_EACH, LARGE)
        self._out = Trespasses(now, most=_TOO_MUCH)
        self._young: dict[str, Credit] = {}  # by client
        self._barred: dict[str, float] = {}  # until when
        self._resume: dict[Line, None] = {}
        self._to_cut: dict[Line, None] = {}
        self._lock = threading.RLock()

    # What calls say.

    @contextmanager
    def call(self, peer: str, caller: str, room: Room) -> Iterator[Took]:
        """Count a call that is let in; gives what is told the size of each message that it has taken.

        peer: gRPC's name of it; caller: a client, empty where nobody has shown who it is.
        """
        left = room.size
        with self._lock:
            line = self._lines.get(number_of(peer) or 0) or Line(0, Peer("", 0), "", self._now())
            self._let_in(line, caller)
            line.called = True
            line.open += 1
            line.room += left
            self._went_on(line, _BYTES_A_CALL)

        def took(size: int) -> None:
            nonlocal left
            with self._lock:
                if not room.stream:  # nothing comes behind its message
                    line.room -= left
                    left = 0
                self._went_on(line, _OVERHEAD * size)

        try:
            yield took
        finally:
            with self._lock:
                line.open -= 1
                line.room -= left
                self._went_on(
                    line, left if line.settled else 0
                )  # what was under way to it, if anything

    def barred_s(self, caller: str) -> float:
        """Return for how long a client is not let in, seconds; 0: it is."""
        return max(0.0, self._barred.get(caller, 0.0) - self._now())

    async def hang_up(self, peer: str, reason: str) -> None:
        """Cut off the connection that gRPC calls `peer`, with all its calls."""
        with self._lock:
            if (line := self._lines.get(number_of(peer) or 0)) is not None:
                self._cut(line, reason)

    # What the front says and asks.

    def comes(self, number: int, peer: Peer) -> Line | None:
        """Somebody has connected; none: it is not to be taken."""
        with self._lock:
            network = network_of(peer.address)
            if self._out.over(network):
                return None
            if len(self._lines) >= self.most:
                if not self._waiting:
                    return None
                self._cut(next(iter(self._waiting)), f"{self.most} connections, as many as may be")
            line = self._lines[number] = Line(number, peer, network, self._now())
            own = self._strangers.setdefault(network, {})
            own[line] = None
            if len(own) > self._each_address:
                self._cut_one_of(own, f"{network} has", self._each_address)
            if self._seats.ask(line, network):
                line.seated = True
            else:
                self._waiting[line] = None
            return line

    def may_send(self, line: Line) -> int:
        """Return how much may be read from a connection now, bytes; where it is 0, an order says when."""
        with self._lock:
            if line.cut or not line.seated:
                return 0
            left = self._left(line)
            if left <= 0 and not line.caller and not line.large:
                line.large = True
                if self._large.ask(line, line.network):
                    line.credit.widen(LARGE_BYTES)
                    left = self._left(line)
            if left <= 0:
                line.paused = True
                self._paused[line] = None
                if line.stuck_since is None:
                    line.stuck_since = self._now()
                return 0
            if left >= _ENOUGH_BYTES:
                line.stuck_since = None
            return left

    def moved(self, line: Line, up: int, down: int) -> None:
        """So many bytes were passed on, to gRPC and from it."""
        with self._lock:
            line.credit.spend(up)
            line.credit.earn(down * _OF_ANSWERS)  # windows are opened for what is read

    def gone(self, line: Line) -> None:
        """A connection has ended."""
        with self._lock:
            if self._lines.pop(line.number, None) is None:
                return
            self._forget(line)
            owed = line.credit.owed
            if line.caller:
                return
            if owed > STRANGER_BYTES - (1 << 10) or line.large:
                self._trespass(line.network, _FLOOD)
            elif not line.called and (owed or line.cut):
                self._trespass(line.network, _FRUITLESS)

    def restless(self) -> bool:
        """Return whether time alone changes anything: then `orders` must be asked for now and then."""
        return bool(self._strangers or self._paused)

    @property
    def has_orders(self) -> bool:
        """Return whether there is anything to do now."""
        return bool(self._resume or self._to_cut)

    def orders(self) -> Orders:
        """Return what is to be done now."""
        with self._lock:
            given = Orders(tuple(self._resume), tuple(self._to_cut))
            self._resume.clear()
            self._to_cut.clear()
            return given

    def look(self) -> None:
        """Find what has become due with time."""
        with self._lock:
            now = self._now()
            for line in [each for own in self._strangers.values() for each in own]:
                if not line.open and now - line.used > (patience := self._patience(line)):
                    self._cut(line, f"no call within {patience:g} s")
            for line in list(self._paused):
                left = self._left(line)
                if left < _ENOUGH_BYTES and now - (line.stuck_since or now) > STUCK_S:
                    if line.caller:
                        self._bar(line.caller)
                    self._cut(line, f"{line.credit.owed} bytes that no call asked for")
                elif left > 0:
                    self._resumed(line)

    # Within the lock.

    def _let_in(self, line: Line, caller: str) -> None:
        if not caller or line.caller or line.cut or not line.number:
            return
        self._forget(line)
        line.caller, line.known_since = caller, self._now()
        line.credit = self._young.get(caller) or Credit(YOUNG_BYTES)
        self._young.pop(caller, None)
        self._young[caller] = line.credit  # behind those that were not used for longer
        if len(self._young) > _MOST_CLIENTS:
            del self._young[next(iter(self._young))]
        own = self._of.setdefault(caller, {})
        own[line] = None
        if len(own) > self._each_caller:
            self._cut_one_of(own, f"client {caller} has", self._each_caller, but=line)

    def _cut_one_of(
        self, own: dict[Line, None], who: str, most: int, but: Line | None = None
    ) -> None:
        those = [each for each in own if each is not but and not each.cut]
        if len(those) + (but is not None) > most:
            oldest = min(those, key=lambda each: (each.open > 0, each.used))
            self._cut(oldest, f"{who} {len(own)} connections, expected {most} at most")

    def _left(self, line: Line) -> int:
        now = self._now()
        if line.caller and not line.settled and now - line.known_since > SETTLED_S:
            line.settled = True
            line.credit = Credit(SETTLED_BYTES)
        if line.caller:
            line.credit.earn_with_time(now, _BYTES_A_S if line.settled else _YOUNG_BYTES_A_S)
        return line.credit.left + (line.room if line.settled else 0)

    def _patience(self, line: Line) -> float:
        if not line.seated:
            return WAIT_S
        pressed = self._seats.pressed(line.network) or self._large.pressed(line.network)
        return PRESSED_S if pressed else SILENT_S

    def _went_on(self, line: Line, earned: float) -> None:
        line.used, line.stuck_since = self._now(), None
        line.credit.earn(earned)
        if line.paused:
            self._resumed(line)

    def _resumed(self, line: Line) -> None:
        line.paused = False
        self._paused.pop(line, None)
        self._resume[line] = None
        self.on_orders()

    def _cut(self, line: Line, reason: str) -> None:
        if not line.cut:
            line.cut = reason
            self._to_cut[line] = None
            self._waiting.pop(line, None)
            self._paused.pop(line, None)
            log.warning("connection cut", peer=str(line.peer), client=line.caller, reason=reason)
            self.on_orders()

    def _forget(self, line: Line) -> None:
        """It is no stranger any more, or not there any more."""
        for each in (self._waiting, self._paused, self._resume, self._to_cut):
            each.pop(line, None)
        for name, table in ((line.network, self._strangers), (line.caller, self._of)):
            own = table.get(name, {})
            own.pop(line, None)
            if not own:
                table.pop(name, None)
        self._seats.leave(line, line.network)
        self._large.leave(line, line.network)
        self._hand_out()

    def _hand_out(self) -> None:
        for line in self._seats.freed():
            assert isinstance(line, Line)
            line.seated, line.used = True, self._now()
            self._waiting.pop(line, None)
            self._resumed(line)
        for line in self._large.freed():
            assert isinstance(line, Line)
            line.credit.widen(LARGE_BYTES)
            self._resumed(line)

    def _trespass(self, network: str, weight: int) -> None:
        before = self._out.over(network)
        self._out.add(network, weight)
        if not before and self._out.over(network):
            log.warning("connections from this address are not taken", address=network)

    def _bar(self, caller: str) -> None:
        self._barred[caller] = self._now() + BARRED_S
