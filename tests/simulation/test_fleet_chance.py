"""A fleet's chance: what it depends on, and what it comes to in the long run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.simulation.availability import Drawn
from antiphon.simulation.chance import uniform
from antiphon.simulation.fleet import SimulatedFleet
from antiphon.simulation.fleet_file import ClientTraits

moments = st.lists(st.floats(0, 1e5), min_size=1, max_size=30)


def phone() -> Drawn:
    """Of a client that is on line for 100 s in the mean, 60 % of the time."""
    return Drawn(3, "a", 0.6, 100.0)


@given(moments)
def test_availability_is_a_function_of_time(asked: list[float]) -> None:
    """Whatever was asked before, and in which order, the answer is the same."""
    remembering = phone()

    answers = {when: (remembering.is_on(when), remembering.next_change(when)) for when in asked}

    fresh = {when: (phone().is_on(when), phone().next_change(when)) for when in asked}
    assert answers == fresh


@given(st.floats(0, 1e5))
def test_a_client_changes_at_its_next_change_and_not_before(when: float) -> None:
    """Up to the next change everything stays, and there it turns round."""
    times = phone()

    change = times.next_change(when)

    assert change > when
    assert times.is_on(math.nextafter(change, 0.0)) == times.is_on(when)
    assert times.is_on(change) != times.is_on(when)


def test_the_share_and_the_mean_are_as_configured() -> None:
    """Over 20,000 changes a client is on line 60 % of the time, for 100 s in the mean."""
    times, now = phone(), 0.0
    lengths: dict[bool, list[float]] = {True: [], False: []}

    for _ in range(20_000):
        after = times.next_change(now)
        lengths[times.is_on(now)].append(after - now)
        now = after

    assert sum(lengths[True]) / now == pytest.approx(0.6, abs=0.01)
    assert sum(lengths[True]) / len(lengths[True]) == pytest.approx(100, rel=0.03)
    # Of an exponential time, half are shorter than ln 2 of the mean.
    assert sorted(lengths[True])[len(lengths[True]) // 2] == pytest.approx(69.3, rel=0.03)


def test_the_process_begins_in_its_stationary_state() -> None:
    """Of many clients, 60 % are on line at 0, and at any later moment too."""
    clients = [Drawn(3, f"c{at}", 0.6, 100.0) for at in range(2000)]

    shares = [sum(each.is_on(when) for each in clients) / 2000 for when in (0.0, 30.0, 1000.0)]

    assert shares == [pytest.approx(0.6, abs=0.035)] * 3


def test_clients_fail_as_often_as_configured() -> None:
    """With a rate of 0.2 a client dies in a fifth of its rounds, anywhere in its training."""
    fleet = SimulatedFleet({"a": ClientTraits(step_s=1, failure_rate=0.2)}, seed=1)

    deaths = [fleet.failure("a", number) for number in range(5000)]

    parts = [part for part in deaths if part is not None]
    assert len(parts) / 5000 == pytest.approx(0.2, abs=0.02)
    assert sum(parts) / len(parts) == pytest.approx(0.5, abs=0.03)


def test_chance_is_not_shared() -> None:
    """Another seed, client, purpose or index is another number; all are inside (0, 1)."""
    asked = [
        (1, "a", "x", 0),
        (2, "a", "x", 0),
        (1, "b", "x", 0),
        (1, "a", "y", 0),
        (1, "a", "x", 1),
    ]

    drawn = [uniform(*each) for each in asked]

    assert len(set(drawn)) == len(asked)
    assert all(0 < each < 1 for each in drawn)
