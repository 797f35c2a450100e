"""Waits grow with failures, are spread by chance, and give way to the coordinator's word."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.daemon.backoff import Backoff


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_wait_lies_below_its_ceiling(seed: int, failures: int) -> None:
    """The n-th wait is drawn from U(0, min(60, 2ⁿ)) seconds."""
    backoff = Backoff(Random(seed))

    waits = [backoff.delay_s() for _ in range(failures)]

    assert all(0 <= wait <= min(60, 2.0**n) for n, wait in enumerate(waits))


def test_waits_are_spread_evenly() -> None:
    """Of a thousand clients at their third failure, the mean waits half of the ceiling of 4 s."""
    waits = []
    for seed in range(1000):
        backoff = Backoff(Random(seed))
        backoff.failures = 2
        waits.append(backoff.delay_s())

    assert abs(sum(waits) / 1000 - 2) < 0.15


def test_success_begins_anew() -> None:
    """After a success the next wait is a short one."""
    backoff = Backoff(Random(0))
    for _ in range(10):
        backoff.delay_s()

    backoff.reset()

    assert backoff.delay_s() <= 1


def test_hint_is_taken_as_it_is() -> None:
    """A wait that the coordinator asks for is neither shortened nor stretched; an hour at most."""
    backoff = Backoff(Random(0))

    assert (backoff.delay_s(12.5), backoff.delay_s(1e9)) == (12.5, 3600.0)
