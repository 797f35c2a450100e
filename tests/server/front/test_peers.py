"""What connections are called."""

from __future__ import annotations

import pytest

from antiphon.server.front.peers import (
    Peer,
    address_of,
    name_of,
    number_of,
    peer_at,
    peer_of,
    written,
)


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("ipv4:192.0.2.7:4711", Peer("192.0.2.7", 4711)),
        ("ipv6:%5B2001:db8::1%5D:80", Peer("2001:db8::1", 80)),
        ("ipv6:[::ffff:192.0.2.7]:80", Peer("192.0.2.7", 80)),
        ("unix:/run/socket", None),
        ("unix:", None),
    ],
)
def test_names_of_grpc(name, peer):
    """gRPC's name of a peer is read; an IPv4 address within IPv6 is IPv4."""
    assert peer_of(name) == peer


@pytest.mark.parametrize("prefix", ["unix-abstract:", "unix:/tmp/antiphon-ab/"])
@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1"])
def test_a_fronts_name_says_who_it_is(prefix, address):
    """What the front calls a connection comes back from gRPC as number and peer."""
    name = prefix + name_of("ab12", 17, peer_at(address, 4711))

    assert (number_of(name), peer_of(name)) == (17, Peer(address, 4711))


def test_other_names_have_no_number():
    """A plain connection is no front's."""
    assert number_of("ipv4:192.0.2.7:4711") is None


def test_as_in_logs():
    """A peer is written as address and port; a name of another form as it is, cut."""
    peers = ["unix-abstract:" + name_of("ab", 1, Peer("2001:db8::1", 80)), "x" * 300]

    assert [written(each) for each in peers] == ["[2001:db8::1]:80", "x" * 200]


def test_neighbours_of_an_ipv6_network_are_one_address():
    """Of IPv6 the /64 counts, also in a front's names."""
    names = ["unix-abstract:" + name_of("ab", n, Peer(f"2001:db8::{n}", 80)) for n in (1, 2)]

    assert {address_of(each) for each in names} == {"2001:db8::/64"}
