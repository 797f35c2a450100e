"""Where a server listens."""

from __future__ import annotations

import socket

import pytest

from antiphon.core.errors import UserError
from antiphon.server.front.listening import listen_at

IPV6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


def reached(listeners, *hosts: str) -> list[str]:
    """Return which of the hosts reach the listeners."""
    port = listeners[0].getsockname()[1]
    found = []
    for host in hosts:
        try:
            socket.create_connection((host, port), 5.0).close()
        except OSError:
            continue
        found.append(host)
    for each in listeners:
        each.close()
    return found


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("127.0.0.1:0", ["127.0.0.1"]),
        pytest.param("[::1]:0", ["::1"], marks=IPV6),
        pytest.param("0.0.0.0:0", ["127.0.0.1", "::1"], marks=IPV6),
        pytest.param("[::]:0", ["127.0.0.1", "::1"], marks=IPV6),
    ],
)
def test_where(address, hosts):
    """An address is that address, and both wildcards are every address of both kinds, as gRPC has it."""
    assert reached(listen_at(address), "127.0.0.1", "::1") == hosts


def test_a_name():
    """A name is each of its addresses, on one port."""
    listeners = listen_at("localhost:0")

    ports = {each.getsockname()[1] for each in listeners}

    assert len(ports) == 1
    assert "127.0.0.1" in reached(listeners, "127.0.0.1")


def test_a_port_that_is_taken():
    """It is said that it is, and nothing is left open."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(UserError, match=rf"cannot listen on {address}: Address already in use"):
            listen_at(address)


@pytest.mark.parametrize("address", ["nohost.invalid:80", "192.0.2.1:80"])
def test_an_address_that_is_not_ours(address):
    """The reason is the system's, with what to do."""
    with pytest.raises(UserError, match=r"cannot listen on .*: .*\. Choose another port"):
        listen_at(address)
