"""Nonces: ours, in time, once."""

import secrets

import pytest

from antiphon.core.clock import VirtualClock
from antiphon.server.enrolment.nonces import LIFE_S, Nonces


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that stands still."""
    return VirtualClock(1.8e9)


@pytest.fixture
def nonces(clock) -> Nonces:
    """What gives nonces."""
    return Nonces(clock.now, secrets.token_bytes)


def test_once(nonces):
    """A nonce can be used once."""
    nonce = nonces.give()

    assert [nonces.spend(nonce), nonces.spend(nonce)] == [True, False]


def test_length(nonces):
    """A nonce has 32 bytes and none is like another."""
    given = {nonces.give() for _ in range(100)}

    assert (len(given), {len(each) for each in given}) == (100, {32})


@pytest.mark.parametrize(("after_s", "good"), [(LIFE_S - 1, True), (LIFE_S + 1, False)])
def test_in_time(nonces, clock, after_s, good):
    """A nonce can be used for a minute."""
    nonce = nonces.give()

    clock.advance_to(clock.now() + after_s)

    assert nonces.spend(nonce) is good


def test_of_another(nonces, clock):
    """A nonce of another coordinator, or of this one before its restart, is not ours."""
    assert not nonces.spend(Nonces(clock.now, secrets.token_bytes).give())


@pytest.mark.parametrize("made_up", [b"", b"\xff" * 32, b"\xff" * 16, b"\xff" * 64])
def test_made_up(nonces, made_up):
    """Bytes that a peer made up are not ours."""
    assert not nonces.spend(made_up)


def test_used_ones_are_forgotten(nonces, clock):
    """What is remembered does not grow: a nonce that has run out is forgotten."""
    for _ in range(50):
        nonces.spend(nonces.give())
        clock.advance_to(clock.now() + LIFE_S)

    assert len(nonces._used) <= 2
