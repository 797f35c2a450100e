"""The front: takes a server's connections, and passes on to gRPC behind it what each may send.

TLS passes through as it is: who calls is gRPC's to find out, and nothing is read here. A connection that
has sent what it may is read from no more until a call of it is let in; what it goes on to send waits with
it. A thread of its own does it, which sleeps while nothing moves.
"""

from __future__ import annotations

import errno
import resource
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from antiphon.server.front.flow import PIECE_BYTES, Flow, Pipes
from antiphon.server.front.inside import Inside
from antiphon.server.front.lines import Line, Lines
from antiphon.server.front.listening import listen_at
from antiphon.server.front.peers import peer_at

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_TICK_S = 0.5
_AT_ONCE = 64  # connections that are taken before others have their turn
_REST_S = 0.2  # after one that could not be taken
_FLUSH_S, _LAST_FLUSH_S = 20.0, 2.0  # for what gRPC has sent before it closed a connection, or all
_UNACKNOWLEDGED_MS = 20_000
_EACH_COSTS, _OTHERS = 3, 1_280  # descriptors: of a connection, and of everything else
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ABRUPTLY = struct.pack("ii", 1, 0)

log = structlog.get_logger()


@dataclass(eq=False)
class _Passage:
    """A connection whose turn has come: both ends. stopped: nothing more is read from the caller now."""

    line: Line
    outside: socket.socket
    inside: socket.socket
    up: Flow
    down: Flow
    stopped: bool = False
    flushed_by: float | None = None
    outside_waits: int = 0  # for what, as the selector knows it
    inside_waits: int = 0


class Front:
    """Listens at HOST:PORT; gRPC is to listen at `inside`. lines: what each connection may."""

    def __init__(self, address: str, lines: Lines) -> None:
        """Listen; nobody is taken before `start`. Raises UserError where the address cannot be had."""
        self._lines = lines
        self._listeners = listen_at(address)  # before anything that would be left behind
        self._inside = Inside()
        self.port: int = self._listeners[0].getsockname()[1]
        self._selector, self._pipes = selectors.DefaultSelector(), Pipes()
        self._waiting: dict[Line, socket.socket] = {}
        self._passages: dict[Line, _Passage] = {}
        self._later: dict[Line, None] = {}  # gRPC could not take them yet
        self._flushing: dict[Line, None] = {}
        self._rests_until: float | None = None
        self._looks_at = 0.0
        self._bell, self._rope = socket.socketpair()
        self._rung = self._refusing = False
        self._ends_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)

    @property
    def inside(self) -> str:
        """What a gRPC server is given as its address."""
        return self._inside.address

    def start(self) -> None:
        """Take connections; gRPC listens by now."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._lines.most = min(
            self._lines.most, max((soft - _OTHERS) // _EACH_COSTS, soft // 2 // _EACH_COSTS)
        )
        self._lines.on_orders = self._ring
        self._inside.hide()
        self._bell.setblocking(False)
        self._selector.register(self._bell, _READ, self._hear)
        self._listen(True)
        self._thread.start()

    def refuse(self) -> None:
        """Take no more connections; those that are there go on."""
        self._refusing = True
        self._ring()

    def close(self) -> None:
        """End: what gRPC has sent is passed on, where its reader takes it at once."""
        self._refusing, self._ends_at = True, time.monotonic() + _LAST_FLUSH_S
        if self._thread.ident is not None:
            self._ring()
            self._thread.join()
        for each in (*self._listeners, self._bell, self._rope):
            each.close()
        self._selector.close()
        self._pipes.close()
        self._inside.close()

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            with suppress(OSError):  # it is over
                self._rope.send(b"!")

    def _hear(self, _: int) -> None:
        self._bell.recv(64)
        self._rung = False

    def _run(self) -> None:
        while not self._over():
            try:
                self._turn()
            except Exception as error:  # whatever it is, others must still get through
                log.error("the front goes on after a defect", reason=repr(error)[:200])
                time.sleep(_REST_S)
        for line in [*self._passages, *self._waiting]:
            self._end(line)

    def _turn(self) -> None:
        for key, what in self._selector.select(self._wait_s()):
            key.data(what)
        if self._refusing and self._listeners:
            self._shut()
        if self._lines.has_orders:
            orders = self._lines.orders()
            for line in orders.resume:
                self._go_on(line)
            for line in orders.cut:
                self._end(line, abruptly=True)
        if (now := time.monotonic()) >= self._looks_at:
            self._looks_at = now + _TICK_S
            self._look(now)

    def _over(self) -> bool:
        if self._ends_at is None:
            return False
        return not self._passages or time.monotonic() > self._ends_at

    def _wait_s(self) -> float | None:
        if self._rests_until is not None or self._later or self._ends_at is not None:
            return _REST_S
        return _TICK_S if self._flushing or self._lines.restless() else None

    def _look(self, now: float) -> None:
        self._lines.look()
        if self._rests_until is not None and now >= self._rests_until:
            self._rests_until = None
            self._listen(True)
        for line in list(self._later):
            self._go_on(line)
        for line in list(self._flushing):
            if (until := self._passages[line].flushed_by) is not None and now > until:
                self._end(line, abruptly=True)

    # Taking connections.

    def _listen(self, do: bool) -> None:
        for each in self._listeners:
            if do:
                self._selector.register(each, _READ, partial(self._accept, each))
            else:
                self._selector.unregister(each)

    def _shut(self) -> None:
        if self._rests_until is None:
            self._listen(False)
        self._rests_until = None
        for each in self._listeners:
            each.close()
        self._listeners.clear()
        for line in list(self._waiting):
            self._end(line)

    def _accept(self, listener: socket.socket, _: int) -> None:
        for _turn in range(_AT_ONCE):
            try:
                outside, where = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL:
                    log.error("a connection was not taken", reason=error.strerror)
                    self._rests_until = time.monotonic() + _REST_S
                    self._listen(False)
                    return
                continue  # it has gone already
            self._take(outside, where)

    def _take(self, outside: socket.socket, where: tuple[str, int]) -> None:
        number = self._inside.new_number()
        line = self._lines.comes(number, peer_at(*where[:2]))
        if line is None:
            _drop(outside, abruptly=True)
            return
        with suppress(OSError):
            outside.setblocking(False)
            outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
        self._waiting[line] = outside
        if line.seated:
            self._go_on(line)

    def _enter(self, line: Line) -> None:
        """Let a connection that has its turn through to gRPC."""
        self._later.pop(line, None)
        try:
            inside = self._inside.connect(line.number, line.peer)
        except BlockingIOError:
            self._later[line] = None
            return
        except OSError as error:
            if error.errno in _FULL:
                self._later[line] = None
            else:
                self._end(line)
            return
        outside = self._waiting.pop(line)
        up, down = Flow(outside, inside, self._pipes), Flow(inside, outside, self._pipes)
        passage = self._passages[line] = _Passage(line, outside, inside, up, down)
        self._attend(passage)

    # Passing on.

    def _go_on(self, line: Line) -> None:
        if (passage := self._passages.get(line)) is not None:
            passage.stopped = False
            self._attend(passage)
        elif line in self._waiting:
            self._enter(line)

    def _moves(self, passage: _Passage, at_caller: bool, what: int) -> None:
        """Something can be read from one end, or written to it."""
        if self._passages.get(passage.line) is not passage:  # it has ended since
            return
        up, down = passage.up, passage.down
        try:
            if what & (_READ if at_caller else _WRITE):
                most = 0
                if not up.held:
                    most = self._lines.may_send(passage.line)
                    passage.stopped = most <= 0
                if taken := up.move(most):
                    self._lines.moved(passage.line, taken, 0)
            if what & (_WRITE if at_caller else _READ) and (taken := down.move(PIECE_BYTES)):
                self._lines.moved(passage.line, 0, taken)
        except OSError:  # one end has gone
            self._end(passage.line)
            return
        except Exception:
            self._end(passage.line, abruptly=True)
            raise
        if down.ended:
            self._end(passage.line)
        else:
            self._attend(passage)

    def _attend(self, passage: _Passage) -> None:
        """Wait for what can happen next on both ends."""
        up, down = passage.up, passage.down
        if down.dry and passage.flushed_by is None:  # gRPC has closed it, and its caller is slow
            passage.flushed_by = time.monotonic() + _FLUSH_S
            self._flushing[passage.line] = None
        reads_caller = not (up.dry or up.held or passage.stopped or down.dry)
        outside = (_READ if reads_caller else 0) | (_WRITE if down.held else 0)
        inside = (0 if down.dry or down.held else _READ) | (_WRITE if up.held else 0)
        if outside != passage.outside_waits:
            then = partial(self._moves, passage, True)
            self._wait(passage.outside, passage.outside_waits, outside, then)
            passage.outside_waits = outside
        if inside != passage.inside_waits:
            then = partial(self._moves, passage, False)
            self._wait(passage.inside, passage.inside_waits, inside, then)
            passage.inside_waits = inside

    def _wait(self, line: socket.socket, was: int, what: int, then: Callable[[int], None]) -> None:
        if not was:
            self._selector.register(line, what, then)
        elif not what:
            self._selector.unregister(line)
        else:
            self._selector.modify(line, what, then)

    def _end(self, line: Line, *, abruptly: bool = False) -> None:
        for table in (self._later, self._flushing):
            table.pop(line, None)
        if (waiting := self._waiting.pop(line, None)) is not None:
            _drop(waiting, abruptly=abruptly)
        if (passage := self._passages.pop(line, None)) is not None:
            for flow in (passage.up, passage.down):
                flow.close()
            for each, waits in (
                (passage.inside, passage.inside_waits),
                (passage.outside, passage.outside_waits),
            ):
                if waits:
                    self._selector.unregister(each)
            passage.inside.close()
            _drop(passage.outside, abruptly=abruptly)
        self._lines.gone(line)


def _drop(line: socket.socket, *, abruptly: bool) -> None:
    if abruptly:  # what is under way to it is given up
        with suppress(OSError):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPTLY)
    line.close()
