"""Which new connections the kernel turns away. Linux only."""

from __future__ import annotations

import socket
import sys

import pytest

from antiphon.server.enrolment.shut_out import MOST, shut_out
from antiphon.server.enrolment.sockets import listeners

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the packet filter is Linux's")


def is_taken(listener: socket.socket, source: str) -> bool:
    """Whether a connection from an address of the loopback comes to be; its packet is lost else."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    host = "::1" if ":" in source else "127.0.0.1"
    with socket.socket(family) as caller:
        caller.setblocking(False)
        caller.bind((source, 0))
        caller.connect_ex((host, listener.getsockname()[1]))
        listener.settimeout(0.3)
        try:
            listener.accept()[0].close()
        except TimeoutError:
            return False
    return True


@pytest.fixture
def listener():
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_only_who_is_named(listener):
    """The addresses that are named are turned away, and no others."""
    shut_out(listener, ["127.0.0.2", "192.0.2.1", "127.0.0.3"])

    taken = [is_taken(listener, f"127.0.0.{number}") for number in range(1, 5)]

    assert taken == [True, False, False, True]


def test_a_new_list_replaces_the_one_before(listener):
    """Who is not named any more is taken again."""
    shut_out(listener, ["127.0.0.2"])
    shut_out(listener, [])

    assert is_taken(listener, "127.0.0.2")


def test_what_is_connected_stays(listener):
    """A connection that was there before goes on, though its address is shut out."""
    with (
        socket.create_connection(listener.getsockname(), 5.0, ("127.0.0.2", 0)) as caller,
        listener.accept()[0] as ours,
    ):
        shut_out(listener, ["127.0.0.2"])
        caller.sendall(b"still here")

        assert ours.recv(100) == b"still here"


def test_the_newest_of_many(listener):
    """A list longer than a program may be keeps its last entries."""
    shut_out(listener, ["127.0.0.2", "127.0.0.3", *(f"192.0.2.{n}" for n in range(MOST - 1))])

    assert (is_taken(listener, "127.0.0.2"), is_taken(listener, "127.0.0.3")) == (True, False)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_ipv6(listener):
    """Of IPv6 a /64 is turned away; what is IPv4 is seen on a socket of both."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        shut_out(both, ["::/64", "127.0.0.2", "2001:db8::/64"])

        taken = [is_taken(both, source) for source in ("::1", "127.0.0.2", "127.0.0.1")]

    assert taken == [False, False, True]


def test_listeners_are_found_by_their_port(listener):
    """What listens on a port is found among all that the process has open."""
    port = listener.getsockname()[1]

    found = [each.descriptor for each in listeners(port)]

    assert found == [listener.fileno()]
