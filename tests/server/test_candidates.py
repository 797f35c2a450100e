"""Votes on what a run trains, before it is open."""

from __future__ import annotations

from antiphon.core.clock import VirtualClock
from antiphon.server.planning.candidates import Candidates


def test_a_candidate_has_one_vote():
    """However often it knocks; its last word replaces the one before."""
    votes = Candidates(2, lambda: 0.0)

    news = [votes.hear("mallory", claim) for claim in ("a", "a", "b", "b")]

    assert news == [True, False, True, False]
    assert votes.claims() == {"b": 1}
    assert not votes.agree("b")


def test_who_does_not_knock_any_more_does_not_count():
    """A revoked client cannot: its vote is gone after a minute."""
    clock = VirtualClock()
    votes = Candidates(2, clock.now)

    votes.hear("mallory", "a")
    clock.advance_to(61.0)
    votes.hear("eve", "a")

    assert votes.having("a") == 1


def test_the_most_frequent_claim_comes_first():
    """For the status."""
    votes = Candidates(2, lambda: 0.0)

    for name, claim in (("a", "x"), ("b", "y"), ("c", "y")):
        votes.hear(name, claim)

    assert list(votes.claims()) == ["y", "x"]
    assert votes.agree("y")
    assert not votes.agree("x")


def test_the_votes_are_bounded(monkeypatch):
    """The oldest is dropped."""
    monkeypatch.setattr("antiphon.server.planning.candidates._MOST", 3)
    votes = Candidates(1, lambda: 0.0)

    for name in "abcde":
        votes.hear(name, name)

    assert set(votes.claims()) == {"c", "d", "e"}
