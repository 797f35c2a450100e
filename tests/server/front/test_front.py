"""The front between real sockets on the loopback: what is passed on, what is not, and how it ends."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from antiphon.core.errors import UserError
from antiphon.server.front import flow
from antiphon.server.front.front import Front
from antiphon.server.front.lines import LARGE_BYTES, SEATS_EACH, SETTLED_S, Lines, Room
from antiphon.server.front.peers import number_of, peer_of

PATIENCE_S = 20.0


class Behind:
    """A front with a server behind it that does as told."""

    def __init__(self) -> None:
        self.late_s = 0.0
        self.lines = Lines(lambda: time.monotonic() + self.late_s)
        self.front = Front("127.0.0.1:0", self.lines)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.settimeout(PATIENCE_S)
        self.place = Path(self.front.inside.removeprefix("unix:"))
        self.server.bind(str(self.place))
        self.server.listen(100)
        self.stack = ExitStack()
        self.front.start()

    def calls(self) -> socket.socket:
        """Connect as a caller."""
        line = socket.create_connection(("127.0.0.1", self.front.port), PATIENCE_S)
        return self.stack.enter_context(line)

    def accepts(self) -> tuple[socket.socket, str]:
        """Take the next connection behind the front; return it and what gRPC would call it."""
        line, name = self.server.accept()
        line.settimeout(PATIENCE_S)
        text = name.decode() if isinstance(name, bytes) else name
        return self.stack.enter_context(line), "unix-abstract:" + text.lstrip("\0")

    def both(self) -> tuple[socket.socket, socket.socket, str]:
        """A caller, its other end, and its name."""
        return self.calls(), *self.accepts()

    def settled(self) -> tuple[socket.socket, socket.socket, str]:
        """The same, of a client whose settings must have been acknowledged."""
        both = self.both()
        self.lets_in(both[2])
        self.late_s += SETTLED_S + 1
        return both

    def lets_in(self, name: str) -> None:
        """A call is let in, and ends."""
        with self.lines.call(name, "edge", Room(0)):
            pass

    def close(self) -> None:
        self.stack.close()
        self.server.close()
        self.front.close()


@pytest.fixture
def behind() -> Iterator[Behind]:
    """A front with a server behind it."""
    made = Behind()
    yield made
    made.close()


def until(condition) -> None:
    """Return as soon as a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        os.sched_yield()


def exactly(line: socket.socket, count: int) -> bytes:
    """Read so many bytes."""
    parts = bytearray()
    while len(parts) < count and (part := line.recv(count - len(parts))):
        parts += part
    return bytes(parts)


def whatever_comes(line: socket.socket) -> int:
    """Read what is there; return how much it was, once nothing more comes for a moment."""
    count, was = 0, line.gettimeout()
    line.settimeout(0.3)
    with suppress(TimeoutError):
        while part := line.recv(65_536):
            count += len(part)
    line.settimeout(was)
    return count


def test_bytes_pass_in_both_directions(behind):
    """What one end sends the other gets, as it is."""
    caller, server, _ = behind.both()

    caller.sendall(b"hello")
    up = exactly(server, 5)
    server.sendall(b"good day")

    assert (up, exactly(caller, 8)) == (b"hello", b"good day")


def test_the_other_end_is_called_by_the_peers_address(behind):
    """What is behind the front knows who is before it."""
    caller, _, name = behind.both()

    peer = peer_of(name)

    assert (peer.address, peer.port) == caller.getsockname()


@pytest.mark.parametrize("spliced", [True, False], ids=["through pipes", "copied"])
def test_much_passes_bit_for_bit(behind, spliced):
    """More than every buffer holds arrives whole, both ways, also without a pipe."""
    behind.front._pipes._spliced = spliced
    caller, server, name = behind.settled()
    content = os.urandom(6 << 20)

    with behind.lines.call(name, "edge", Room(len(content))):
        caller.setblocking(False)
        server.setblocking(False)
        ends = {caller: [content, bytearray()], server: [content[::-1], bytearray()]}
        until(lambda: {_step(*each) for each in ends.items()} == {len(content)})

    assert bytes(ends[server][1]) == content
    assert bytes(ends[caller][1]) == content[::-1]


def _step(line: socket.socket, state: list) -> int:
    with suppress(BlockingIOError):
        state[0] = state[0][line.send(state[0][:65_536]) :] if state[0] else state[0]
    with suppress(BlockingIOError):
        state[1] += line.recv(65_536)
    return len(state[1])


def test_a_stranger_is_not_read_beyond_its_credit(behind):
    """What it sends beyond waits in its own connection, and does not reach gRPC."""
    caller, server, _ = behind.both()
    caller.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            caller.send(bytes(65_536))

    assert whatever_comes(server) == LARGE_BYTES


def test_what_has_waited_goes_on_with_a_call(behind):
    """Nothing is lost of what stood still."""
    caller, server, name = behind.both()
    content = os.urandom(LARGE_BYTES + 10_000)
    caller.sendall(content)
    before = exactly(server, LARGE_BYTES)

    behind.lets_in(name)

    assert before + exactly(server, 10_000) == content


def test_a_slow_reader_stops_its_writer(behind):
    """What gRPC sends to somebody who does not read is not heaped up in this process."""
    caller, server, _ = behind.both()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    server.setblocking(False)
    sent = [0]

    def stands_still() -> bool:
        try:
            sent[0] += server.send(bytes(65_536))
        except BlockingIOError:
            return passage.down.held
        return False

    until(lambda: behind.front._passages)
    (passage,) = behind.front._passages.values()
    until(stands_still)

    assert sent[0] < 32 << 20
    assert passage.down._in_pipe <= flow.PIECE_BYTES


def test_a_caller_that_ends_its_half(behind):
    """What gRPC still has to say reaches a caller that will send no more."""
    caller, server, _ = behind.both()
    caller.shutdown(socket.SHUT_WR)
    end = server.recv(1)
    server.sendall(b"the end")
    server.close()

    assert (end, exactly(caller, 100)) == (b"", b"the end")


def test_a_caller_that_breaks_off(behind):
    """A reset ends the other end too, and nothing is left of the connection."""
    caller, server, _ = behind.both()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    caller.close()

    with suppress(ConnectionResetError):
        assert server.recv(1) == b""
    until(lambda: not behind.lines._lines)
    assert not behind.front._passages


def test_a_storm_of_resets(behind):
    """Hundreds that connect and break off leave nothing behind, and the next one gets through."""
    for _ in range(300):
        line = behind.calls()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.close()
    caller = behind.calls()
    caller.sendall(b"hello")

    until(lambda: exactly(behind.accepts()[0], 5) == b"hello")
    until(lambda: len(behind.lines._lines) == 1)


def test_what_grpc_closes_is_closed(behind):
    """What was sent before arrives, then the end."""
    caller, server, _ = behind.both()
    server.sendall(b"x" * 100_000)
    server.close()

    assert len(exactly(caller, 200_000)) == 100_000


def test_hanging_up(behind):
    """Who is hung up on is gone at both ends."""
    caller, server, name = behind.both()

    asyncio.run(behind.lines.hang_up(name, "enough"))

    assert server.recv(1) == b""
    with suppress(ConnectionResetError):
        assert caller.recv(1) == b""


def test_who_waits_for_a_seat_is_not_seen_by_grpc(behind):
    """Of an address's strangers no more get through than may make their first call at once."""
    for _ in range(SEATS_EACH + 2):
        behind.calls().sendall(b"hello")
    seen = [behind.accepts() for _ in range(SEATS_EACH)]
    behind.server.settimeout(0.2)
    with pytest.raises(TimeoutError):
        behind.server.accept()
    behind.server.settimeout(PATIENCE_S)

    behind.lets_in(seen[0][1])

    assert exactly(behind.accepts()[0], 5) == b"hello"


def test_who_is_shut_out_is_not_taken(behind):
    """Its connection is reset at once, and gRPC does not hear of it."""
    behind.lines._out.add("127.0.0.1", 10_000)

    with pytest.raises(ConnectionResetError):
        behind.calls().recv(1)


def test_a_full_table_of_descriptors(behind):
    """Where no descriptor is left, the front rests a moment and goes on when there is one."""
    caller = behind.stack.enter_context(socket.socket())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (caller.fileno() + 1, hard))
    try:
        caller.connect(("127.0.0.1", behind.front.port))
        until(lambda: behind.front._rests_until is not None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    caller.sendall(b"hello")

    assert exactly(behind.accepts()[0], 5) == b"hello"


def test_after_the_end_nobody_is_taken(behind):
    """While the server drains, what is there goes on, and new connections are refused."""
    caller, server, _ = behind.both()
    behind.front.refuse()
    until(lambda: not behind.front._listeners)

    with pytest.raises(ConnectionRefusedError):
        behind.calls()
    server.sendall(b"still here")

    assert exactly(caller, 10) == b"still here"


def test_no_name_is_left_behind(behind):
    """Once it runs, its place has no name on the disk, so that nothing stays when it is killed."""
    assert behind.place.parent.name.startswith("antiphon-")
    assert not behind.place.parent.exists()


def test_it_sleeps_while_nothing_happens(behind):
    """With clients that wait and no strangers, the front's thread is not woken."""
    _, _, name = behind.both()
    behind.lets_in(name)

    until(lambda: behind.front._wait_s() is None)


def test_a_defect_does_not_end_it(behind):
    """Whatever goes wrong with one connection, others still get through."""
    caller, _, _ = behind.both()
    until(lambda: behind.front._passages)
    (passage,) = behind.front._passages.values()
    passage.up._sink = None
    caller.sendall(b"x")
    with suppress(ConnectionResetError):
        assert caller.recv(1) == b""

    other, server, _ = behind.both()
    other.sendall(b"hello")

    assert exactly(server, 5) == b"hello"


def test_numbers_are_not_used_again(behind):
    """Two connections of one peer's address and port would have two names."""
    names = [behind.both()[2] for _ in range(3)]

    assert len({number_of(each) for each in names}) == 3


def test_a_front_that_cannot_listen_leaves_nothing_behind(tmp_path, monkeypatch):
    """No folder stays where the address is taken."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UserError):
        Front(f"127.0.0.1:{other.getsockname()[1]}", Lines())

    assert list(tmp_path.iterdir()) == []
