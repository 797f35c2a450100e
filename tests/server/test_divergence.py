"""A run whose loss rises is told what to do."""

from __future__ import annotations

import math

import pytest
from tests.server.journals import OPENING, evaluated, report_of, whole_round

from antiphon.server.report.divergence import advice_of, advice_on, rates_of
from antiphon.strategies.methods.method import method_of


def test_a_loss_that_falls_needs_no_advice() -> None:
    """Nor does one that stays."""
    assert advice_on((), 2.0, 1.0) == advice_on((), 2.0, 2.0) == ""


@pytest.mark.parametrize("now", [2.5, math.nan, math.inf])
@pytest.mark.parametrize(
    ("method", "key"), [("lora", "training.learning_rate"), ("seeds", "seeds.learning_rate")]
)
def test_a_loss_that_rises_says_which_key_to_lower(
    tiny_config, method: str, key: str, now: float
) -> None:
    """The advice names the learning rate of the run's own method."""
    rates = rates_of(method_of(tiny_config(f"method={method}")))

    assert f"lower {key}" in advice_on(rates, 2.0, now)


def test_the_report_of_a_run_that_got_worse_says_so(tmp_path) -> None:
    """Start and end are compared over the same clients."""
    report = report_of(tmp_path, *OPENING, *evaluated(0, 1.0, 1.0), *whole_round(1, loss=4.0))

    assert "rose from 1 to 4.25" in advice_of(report)


def test_the_report_of_a_run_that_learned_says_nothing(tmp_path) -> None:
    """A better model needs no advice."""
    report = report_of(tmp_path, *OPENING, *evaluated(0, 9.0, 9.0), *whole_round(1))

    assert advice_of(report) == ""


def test_a_client_whose_loss_is_no_number_is_advice_enough(tmp_path) -> None:
    """The means may look fine, or be missing."""
    report = report_of(tmp_path, *OPENING, *whole_round(1, loss=math.nan))

    assert "learning_rate" in advice_of(report)
