"""Who is there, by a clock that the tests move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.clock import VirtualClock
from antiphon.server.coordinator.leases import Leases


def leases(clock: VirtualClock, lease_s: float = 10.0, check_ins_per_s: float = 500.0) -> Leases:
    return Leases(clock.now, lease_s=lease_s, check_ins_per_s=check_ins_per_s)


def test_a_silent_client_expires_when_its_lease_is_over():
    """A client is there to the end of its lease, and is named once after it."""
    clock = VirtualClock()
    known = leases(clock)
    known.touch("north")

    clock.advance_to(10.0)
    before = known.expire()
    clock.advance_to(10.1)

    assert before == []
    assert known.expire() == ["north"]
    assert known.expire() == []


def test_a_call_renews_the_lease():
    """What counts is the last sign of life, not the first."""
    clock = VirtualClock()
    known = leases(clock)
    known.touch("north")
    clock.advance_to(9.0)
    known.touch("north")

    clock.advance_to(18.0)

    assert known.expire() == []
    assert known.silence_s("north") == 9.0
    assert known.silences() == {"north": 9.0}


def test_who_says_goodbye_does_not_expire():
    """A client that has left is not named again as gone."""
    clock = VirtualClock()
    known = leases(clock)
    known.touch("north")

    known.forget("north")
    clock.advance_to(100.0)

    assert known.expire() == []
    assert known.silence_s("north") is None


def test_the_names_that_expire_are_sorted():
    """Clients that go at the same moment go in the order of their names."""
    clock = VirtualClock()
    known = leases(clock)
    for name in ("south", "east", "north"):
        known.touch(name)

    clock.advance_to(11.0)

    assert known.expire() == ["east", "north", "south"]


@pytest.mark.parametrize(("clients", "hold_s"), [(10, 6.0), (600, 6.0), (2000, 20.0)])
def test_a_large_fleet_calls_less_often(clients, hold_s):
    """A call is held for six tenths of the lease, or as long as the rate of calls demands."""
    known = leases(VirtualClock(), check_ins_per_s=100.0)

    for number in range(clients):
        known.touch(f"client-{number}")

    assert known.hold_s == pytest.approx(hold_s)


@given(
    clients=st.integers(1, 300),
    lease_s=st.floats(0.5, 60.0),
    rate=st.floats(0.5, 1000.0),
)
def test_a_client_that_calls_at_once_again_never_expires(clients, lease_s, rate):
    """However large the fleet: a call that was held to its end is followed by the next within the lease."""
    clock = VirtualClock()
    known = leases(clock, lease_s, rate)
    for number in range(clients):
        known.touch(f"client-{number}")

    clock.advance_to(known.hold_s)

    assert known.hold_s < known.lease_s
    assert known.expire() == []


def test_a_shorter_lease_holds_from_now_on():
    """A lease that settings read again have shortened binds clients that are there already."""
    clock = VirtualClock()
    known = leases(clock)
    known.touch("north")
    clock.advance_to(5.0)

    known.shortest_s = 4.0

    assert known.expire() == ["north"]
