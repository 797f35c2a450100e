"""The owner's word: what it forbids is refused with a reason, what it does not mention is allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from antiphon.client.daemon.policy import DAYS, SitePolicy, TaskTerms, is_open, permits
from antiphon.client.daemon.work import Work

TERMS = TaskTerms("lora", "smollm2-135m", min_cohort=3, works=(Work("lora", steps=10),))
MONDAY = datetime(2026, 3, 2)
MINUTES = st.integers(0, 24 * 60 - 1)


def at(text: str, day: int = 0) -> datetime:
    """A time of day, some days after a Monday."""
    hour, minute = text.split(":")
    return MONDAY + timedelta(days=day, hours=int(hour), minutes=int(minute))


def policy(**keys: Any) -> SitePolicy:
    """A policy from plain values."""
    return SitePolicy.model_validate(keys)


def test_default_allows_everything() -> None:
    """Without a key nothing is forbidden but what would give single rows away."""
    works = (Work("lora", steps=10**6),)
    terms = replace(TERMS, upload_bytes=10**12, min_cohort=0, works=works)

    assert permits(SitePolicy(), terms, MONDAY) == ()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"methods": ["seeds"]}, "methods seeds, not lora"),
        ({"methods": []}, "methods none, not lora"),
        ({"models": ["llama-*"]}, "does not allow the model smollm2-135m"),
        ({"min_cohort": 4}, "wants 4 clients or more in a round, the run promises 3"),
        ({"max_steps": 9}, "allows 9 steps in a round, not 10"),
        ({"min_examples": 401}, "wants 401 training examples, this site has 400"),
        ({"min_batch": 17}, "wants 17 examples in a step, not 16"),
        ({"max_passes": 0.3}, "allows 0.3 passes over its examples in a round, not 0.4"),
        ({"max_example_share": 0.001}, "lets one example be 0.001 of an update, not 0.00625"),
        ({"max_upload_mb_per_round": 1.9}, "lets 1.9 MB leave in a round; this is 2.0 MB"),
        (
            {"max_upload_mb_per_day": 4.5},
            "lets 4.5 MB leave in a day; with this round it would be 5",
        ),
    ],
)
def test_each_key_refuses(keys: dict[str, Any], reason: str) -> None:
    """What is just beyond a limit is refused, and the reason says both numbers."""
    terms = replace(TERMS, examples=400, upload_bytes=2_000_000, uploaded_today=3_000_000)

    assert reason in str(permits(policy(**keys), terms, MONDAY))


@pytest.mark.parametrize(
    ("pattern", "model", "allowed"),
    [
        ("smollm2-*", "smollm2-135m", True),
        ("smollm2-*", "smollm2-x/anything", False),
        ("*", "evil/smollm2-135m", False),
        ("acme/*", "acme/base", True),
        ("acme/*", "acme/base/other", False),
    ],
)
def test_a_glob_matches_no_hub_id_by_accident(pattern: str, model: str, allowed: bool) -> None:
    """A star stands for a part of a name, and never for an owner."""
    reasons = permits(policy(models=[pattern]), replace(TERMS, model=model), MONDAY)

    assert (reasons == ()) is allowed


@pytest.mark.parametrize(
    "keys",
    [
        {"methods": ["lora", "seeds"]},
        {"models": ["tiny", "smollm2-*"]},
        {"min_cohort": 3},
        {"max_steps": 10},
        {"max_upload_mb_per_round": 2},
        {"max_upload_mb_per_day": 5},
    ],
)
def test_limits_are_inclusive(keys: dict[str, Any]) -> None:
    """What lies on a limit is allowed."""
    terms = replace(TERMS, upload_bytes=2_000_000, uploaded_today=3_000_000)

    assert permits(policy(**keys), terms, MONDAY) == ()


@pytest.mark.parametrize(
    ("time", "allowed"),
    [("21:59", False), ("22:00", True), ("03:00", True), ("05:59", True), ("06:00", False)],
)
def test_hours_over_midnight(time: str, allowed: bool) -> None:
    """A window whose end lies before its start goes on into the next day."""
    assert is_open(policy(hours="22:00-06:00"), at(time)) is allowed


def test_hours_after_midnight_belong_to_the_day_before() -> None:
    """Friday's window covers Saturday morning, and not Friday morning."""
    nights = policy(hours="22:00-06:00", days=["fri"])

    assert is_open(nights, at("03:00", day=5))
    assert not is_open(nights, at("03:00", day=4))


def test_hours_are_named_in_the_reason() -> None:
    """Outside the hours the reason says when work is allowed."""
    (reason,) = permits(policy(hours=["22:00-06:00"], days=["sat", "sun"]), TERMS, at("12:00"))

    assert reason.code == "policy.hours"
    assert reason.text == "the site's policy allows work only at sat sun 22:00-06:00 (local time)"


@given(start=MINUTES, end=MINUTES, minute=MINUTES)
def test_a_window_and_its_complement_share_the_day(start: int, end: int, minute: int) -> None:
    """At any minute exactly one of start-end and end-start is open."""

    def clock(value: int) -> str:
        return f"{value // 60:02d}:{value % 60:02d}"

    if start == end:
        return
    now = MONDAY + timedelta(minutes=minute)
    one = is_open(policy(hours=f"{clock(start)}-{clock(end)}"), now)
    other = is_open(policy(hours=f"{clock(end)}-{clock(start)}"), now)

    assert one != other


@given(st.sets(st.sampled_from(DAYS), min_size=1), st.integers(0, 10_000))
def test_days_without_hours_are_whole_days(days: set[str], minutes: int) -> None:
    """Without hours, a named day is open from midnight to midnight."""
    now = MONDAY + timedelta(minutes=minutes)

    assert is_open(policy(days=sorted(days)), now) is (DAYS[now.weekday()] in days)


@pytest.mark.parametrize("hours", ["22-06", "25:00-26:00", "22:00", "10:60-11:00"])
def test_malformed_hours_are_refused(hours: str) -> None:
    """A window that is no window is an error of the settings."""
    with pytest.raises(ValidationError, match="expected such as 22:00-06:00"):
        policy(hours=hours)
