"""Schedules: where they begin, peak and end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.strategies.learning_rate import rate

KINDS = ["constant", "linear", "cosine"]


@given(st.sampled_from(KINDS), st.integers(1, 500), st.integers(0, 50), st.data())
def test_rates_lie_between_zero_and_the_peak(kind, total, warmup, data):
    """No step is negative or above the peak."""
    step = data.draw(st.integers(0, total - 1))

    assert 0 <= rate(kind, 0.1, step, total, warmup) <= 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_warm_up_is_linear_and_ends_at_the_peak(kind):
    """Four warm-up steps are a quarter, a half, three quarters and the whole."""
    rates = [rate(kind, 1.0, step, 100, 4) for step in range(5)]

    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


@pytest.mark.parametrize(("kind", "half"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_halfway(kind, half):
    """Linear and cosine are at half the peak in the middle."""
    assert rate(kind, 1.0, 50, 100) == pytest.approx(half)
