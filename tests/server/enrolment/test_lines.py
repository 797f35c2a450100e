"""Which connections are cut: by the fact, without a network."""

from __future__ import annotations

import pytest

from antiphon.core.clock import VirtualClock
from antiphon.server.enrolment.lines import FREE_BYTES, FREE_BYTES_OF_A_CALLER, Lines, Room
from antiphon.server.enrolment.sockets import Connection


class Server:
    """Connections by port, from one address unless said otherwise."""

    def __init__(self) -> None:
        self.clock = VirtualClock(100.0)
        self.lines = Lines(self.clock.now, each_caller=2, each_address=3)

    def called(self, port: int, caller: str = "edge", size: int = 0) -> None:
        """Make a whole call."""
        with self.lines.call(f"ipv4:192.0.2.1:{port}", caller, Room(size)) as took:
            took(size)

    def cut(self, *ports: int, received: int = 0, address: str = "192.0.2.1") -> list[str]:
        """Look at these connections; say which are cut, and why."""
        seen = [Connection(port, (address, port), received) for port in ports]
        excess = self.lines.excess(seen, self.clock.now())
        return [f"{connection.peer[1]}: {reason}" for connection, reason in excess]


@pytest.fixture
def server() -> Server:
    """A server with small budgets."""
    return Server()


def test_bytes_of_no_call(server):
    """A connection that sends more than a handshake, and no call, is cut."""
    assert server.cut(1, received=FREE_BYTES) == []
    assert server.cut(1, received=FREE_BYTES + 1)[0].startswith("1: 65537 bytes, expected 65536")


def test_bytes_of_messages_are_its_calls(server):
    """What its calls have taken is not held against a connection."""
    server.called(1, size=10_000_000)

    assert server.cut(1, received=10_000_000 + FREE_BYTES_OF_A_CALLER) == []


def test_bytes_under_way(server):
    """While a call waits for its message, the message may be under way; behind it nothing may."""
    with server.lines.call("ipv4:192.0.2.1:1", "edge", Room(4_000_000)) as took:
        before = server.cut(1, received=4_000_000)
        took(100)
        after = server.cut(1, received=4_000_000)

    assert (before, len(after)) == ([], 1)


def test_bytes_of_a_stream(server):
    """A stream may always send so many bytes ahead of its reader, and no more."""
    with server.lines.call("ipv4:192.0.2.1:1", "edge", Room(1_000_000, stream=True)) as took:
        took(5_000_000)
        within = server.cut(1, received=6_000_000)
        beyond = server.cut(1, received=9_000_000)

    assert (within, len(beyond)) == ([], 1)


def test_who_sends_what_no_call_asked_for_is_barred(server):
    """A client whose connection is cut for its bytes is not let in for a minute."""
    server.called(1)

    server.cut(1, received=5_000_000)

    assert server.lines.barred_s("edge") == 60.0
    assert server.lines.barred_s("other") == 0.0
    server.clock.advance_to(160.0)
    assert server.lines.barred_s("edge") == 0.0


def test_connections_of_a_client(server):
    """Of a client's connections the one that was used longest ago is cut."""
    for port in (3, 1, 2):
        server.called(port)
        server.clock.advance_to(server.clock.now() + 1)

    assert server.cut(1, 2, 3) == ["3: client edge has 3 connections, expected 2 at most"]


def test_connections_at_work_stay(server):
    """One that has a call open is cut after those that have none."""
    with server.lines.call("ipv4:192.0.2.1:1", "edge", Room(0)):
        server.clock.advance_to(101.0)
        server.called(2)
        server.called(3)

        assert server.cut(1, 2, 3)[0].startswith("2: ")


def test_connections_of_an_address(server):
    """Of an address's connections on which nobody was let in, the oldest are cut; clients do not count."""
    server.called(9)
    server.cut(1, 2, 9)
    server.clock.advance_to(101.0)

    (cut,) = server.cut(1, 2, 3, 4, 9)

    assert cut.endswith("192.0.2.1 has 4 connections, expected 3 at most")
    assert cut[0] in "12"


def test_neighbours_of_an_ipv6_network_share(server):
    """Of IPv6 the /64 counts as one address."""
    seen = [Connection(port, (f"2001:db8::{port}", port), 0) for port in range(1, 5)]

    assert len(server.lines.excess(seen, server.clock.now())) == 1


def test_silent_connection(server):
    """A connection on which nobody is let in is cut after 15 s; a client's stays."""
    server.called(9)
    server.cut(1, 9)
    server.clock.advance_to(116.0)

    assert server.cut(1, 9) == ["1: no call within 15 s"]


def test_a_call_that_began_during_the_look_is_remembered(server):
    """What the look could not have seen is not forgotten by it."""
    before = server.clock.now()
    server.clock.advance_to(101.0)
    server.called(1, size=3_000_000)

    server.lines.excess([], before)

    assert server.cut(1, received=3_000_000) == []


def test_an_address_that_floods_again_and_again_is_shut_out(server):
    """After four connections that were cut for what they sent, for a minute; a neighbour is not."""
    server.cut(1, 2, 3, received=1_000_000)
    three = server.lines.shut_out()
    server.cut(4, received=1_000_000)
    server.cut(5, received=1_000_000, address="192.0.2.2")

    assert (three, server.lines.shut_out()) == ((), ("192.0.2.1",))
    server.clock.advance_to(160.0)
    assert server.lines.shut_out() == ()


def test_a_connection_is_counted_once(server):
    """One that is still there when it is looked for again counts as one cut."""
    for _ in range(10):
        server.cut(1, received=1_000_000)

    assert server.lines.shut_out() == ()


def test_a_client_shuts_no_address_out(server):
    """Who is known by name is barred by name: others may have the same address."""
    for port in range(1, 6):
        server.called(port)
        server.cut(port, received=5_000_000)

    assert server.lines.shut_out() == ()


def test_what_is_gone_is_forgotten(server):
    """Nothing is kept of connections that have ended."""
    server.called(1)
    server.clock.advance_to(101.0)

    server.cut(2)

    assert [port for _, port in server.lines._lines] == [2]
