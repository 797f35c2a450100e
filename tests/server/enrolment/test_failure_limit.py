"""How often an address may fail, on a clock of the test's own."""

import pytest

from antiphon.core.clock import VirtualClock
from antiphon.server.enrolment.failure_limit import MOST_PEERS, FailureLimit
from antiphon.server.front.peers import address_of


def test_burst_then_rate():
    """Three failures at once are let pass, the fourth try waits for as long as the rate says."""
    clock = VirtualClock()
    limit = FailureLimit(clock.now, burst=3, per_s=0.5)
    for _ in range(3):
        assert limit.wait_s("ipv4:192.0.2.7:1") == 0
        limit.failed("ipv4:192.0.2.7:1")

    assert limit.wait_s("ipv4:192.0.2.7:2") == 2
    clock.advance_to(2.0)
    assert limit.wait_s("ipv4:192.0.2.7:3") == 0


def test_others_are_not_meant():
    """One address that fails does not hold up another."""
    limit = FailureLimit(VirtualClock().now, burst=1)

    limit.failed("ipv4:192.0.2.7:1")

    assert limit.wait_s("ipv4:192.0.2.8:1") == 0


def test_memory_is_bounded():
    """No more than so many addresses are remembered."""
    limit = FailureLimit(VirtualClock().now)

    for number in range(MOST_PEERS + 10):
        limit.failed(f"peer {number}")

    assert len(limit._failures) == MOST_PEERS


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:4711", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::/64"),
        ("ipv6:[2001:db8::2]:1", "2001:db8::/64"),
        ("unix:/run/socket", "unix:/run/socket"),
    ],
)
def test_addresses(peer, address):
    """The port does not count, and one site's IPv6 addresses are one."""
    assert address_of(peer) == address
