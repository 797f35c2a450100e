"""What a connection may still send, by the fact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.server.front.credit import Credit


def test_what_is_sent_is_owed():
    """A balance begins full and goes down with what is sent."""
    credit = Credit(100)

    credit.spend(30)

    assert (credit.left, credit.owed) == (70, 30)


def test_it_may_go_below_zero():
    """What somebody else vouches for is owed like the rest."""
    credit = Credit(100)

    credit.spend(150)

    assert (credit.left, credit.owed) == (-50, 150)


def test_a_wider_bound_gives_the_difference():
    """Who may have more has it at once; a bound is never made smaller."""
    credit = Credit(100)
    credit.spend(60)

    credit.widen(250)
    credit.widen(10)

    assert credit.left == 190


def test_time_fills_it_up():
    """From the first time on, a balance grows with time, up to its bound."""
    credit = Credit(100)
    credit.spend(90)
    for now in (1_000.0, 1_004.0):
        credit.earn_with_time(now, 10.0)
    before = credit.left
    credit.earn_with_time(2_000.0, 10.0)

    assert (before, credit.left) == (50, 100)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10_000))))
def test_nobody_saves_up(steps):
    """Whatever is earned and spent, no more than the bound can be sent at once."""
    credit = Credit(1_000)

    for earns, size in steps:
        if earns:
            credit.earn(size)
        else:
            credit.spend(min(size, max(0, credit.left)))

        assert 0 <= credit.left <= 1_000
