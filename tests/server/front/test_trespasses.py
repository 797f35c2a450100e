"""Who has done what it should not too often, by the fact."""

from __future__ import annotations

import pytest

from antiphon.core.clock import VirtualClock
from antiphon.server.front import trespasses
from antiphon.server.front.trespasses import Trespasses


def test_over_for_a_minute():
    """Who reaches the bound within a minute is over it for a minute; its neighbour is not."""
    clock = VirtualClock(0.0)
    done = Trespasses(clock.now, most=3)
    done.add("a", 2)
    before = done.over("a")
    clock.advance_to(59.0)
    done.add("a", 1)

    assert (before, done.over("a"), done.over("b")) == (False, True, False)
    clock.advance_to(119.0)
    assert not done.over("a")


def test_what_is_long_past_does_not_count():
    """A trespass counts for a minute."""
    clock = VirtualClock(0.0)
    done = Trespasses(clock.now, most=3)
    done.add("a", 2)
    clock.advance_to(60.0)
    done.add("a", 2)

    assert not done.over("a")


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """Of too many names the one that did something longest ago is forgotten."""
    monkeypatch.setattr(trespasses, "MOST_NAMES", 2)
    done = Trespasses(VirtualClock(0.0).now, most=1)

    for name in "abc":
        done.add(name, 1)

    assert [done.over(name) for name in "abc"] == [False, True, True]
