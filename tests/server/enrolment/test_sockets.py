"""What this process sees of its own sockets, and how it ends them. Linux only."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from antiphon.server.enrolment.sockets import Sockets, cut, peer_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and TCP_INFO are Linux's")


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """A connection over the loopback: the caller's end, ours, and our port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as theirs, listener.accept()[0] as ours:
            yield theirs, ours, port


def test_a_connection_is_seen_with_its_bytes(line):
    """Our end of a connection is found by the port, with its peer and what has arrived."""
    theirs, ours, port = line
    theirs.sendall(bytes(1_000))
    ours.recv(1)

    (seen,) = Sockets(port).connections()

    assert (seen.peer, seen.received) == (theirs.getsockname(), 1_000)


def test_other_ports_are_not_looked_at(line):
    """What is connected elsewhere is not this server's."""
    *_, port = line

    assert Sockets(port + 1).connections() == []


def test_cut(line):
    """What is cut ends at both ends, though another part of the process holds the socket."""
    theirs, ours, port = line
    (seen,) = Sockets(port).connections()

    done = cut(seen)

    assert (done, theirs.recv(1), ours.recv(1)) == (True, b"", b"")


def test_a_number_that_is_another_connection_by_now_is_not_cut(line):
    """What has gone is not cut, whatever has its number."""
    *_, ours, port = line
    (seen,) = Sockets(port).connections()
    with socket.create_server(("127.0.0.1", 0)) as other:
        caller = socket.create_connection(other.getsockname())
        number = seen.descriptor
        ours.close()
        later = other.accept()[0]

        assert later.fileno() == number
        assert not cut(seen)

        later.close()
        caller.close()


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("ipv4:192.0.2.7:4711", ("192.0.2.7", 4711)),
        ("ipv6:%5B2001:db8::1%5D:80", ("2001:db8::1", 80)),
        ("ipv6:[::ffff:192.0.2.7]:80", ("192.0.2.7", 80)),
        ("unix:/run/socket", None),
    ],
)
def test_names_of_grpc(name, peer):
    """gRPC's name of a peer is read; an IPv4 address within IPv6 is IPv4."""
    assert peer_of(name) == peer
