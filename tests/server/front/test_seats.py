"""Places for few, by the fact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.server.front.seats import Seats


def test_a_network_has_its_own_places():
    """Of three from one address two sit, and the third waits; another address is not in its way."""
    seats = Seats(2, 10)

    taken = [seats.ask(who, "a") for who in (1, 2, 3)]

    assert (taken, seats.ask(4, "b")) == ([True, True, False], True)


def test_a_place_that_is_left_goes_to_who_came_first():
    """Who has waited longest is next, though somebody else asks in that moment."""
    seats = Seats(1, 10)
    for who in (1, 2, 3):
        seats.ask(who, "a")

    seats.leave(1, "a")

    assert (seats.ask(4, "a"), seats.freed()) == (False, [2])


def test_networks_have_their_turn():
    """Where all places are taken, one of each network is next, however many wait there."""
    seats = Seats(5, 5)
    for who in range(5):
        seats.ask(who, "busy")
    for who in range(10, 14):
        seats.ask(who, "crowd")
    seats.ask(20, "one")

    for who in range(3):
        seats.leave(who, "busy")

    assert seats.freed() == [10, 20, 11]


def test_who_goes_away_is_not_waited_for():
    """A place is not kept for somebody who has gone while waiting."""
    seats = Seats(1, 1)
    for who in (1, 2, 3):
        seats.ask(who, "a")

    seats.leave(2, "a")
    seats.leave(1, "a")

    assert seats.freed() == [3]


def test_pressed():
    """A place is wanted where somebody of its network waits, or somebody who lacks nothing else."""
    seats = Seats(1, 2)
    seats.ask(1, "a")
    seats.ask(2, "b")
    before = seats.pressed("a")
    seats.ask(3, "c")

    assert (before, seats.pressed("a")) == (False, True)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.booleans()), max_size=60))
def test_never_more_than_there_are(steps):
    """Whoever comes and goes, no bound is broken, and nobody waits for a place that is free."""
    seats, sitting, waiting = Seats(2, 4), {}, {}
    for number, (who, network, goes) in enumerate(steps):
        there = [each for each in (*sitting, *waiting) if each[0] == network]
        if goes and there:
            left = there[who % len(there)]
            sitting.pop(left, None)
            waiting.pop(left, None)
            seats.leave(left, network)
        else:
            (sitting if seats.ask((network, number), network) else waiting)[network, number] = None
        for got in seats.freed():
            del waiting[got]
            sitting[got] = None

        of = {each: sum(name == each for name, _ in sitting) for each in "abc"}
        assert len(sitting) <= 4
        assert max(of.values()) <= 2
        assert len(sitting) == 4 or all(of[name] == 2 for name, _ in waiting)
