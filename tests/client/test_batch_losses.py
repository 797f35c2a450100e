"""What an update reports of its losses."""

import math

import pytest

from antiphon.client.batch_losses import loss_metrics


def test_mean_and_root_of_the_mean_square():
    """Of 1 and 7: the mean is 4, the root of the mean square 5."""
    assert loss_metrics([1.0, 7.0]) == pytest.approx({"loss": 4.0, "rms_loss": 5.0})


def test_equal_losses():
    """Where all are equal, both are that."""
    assert loss_metrics([2.5] * 7) == pytest.approx({"loss": 2.5, "rms_loss": 2.5})


def test_no_step_with_a_finite_loss():
    """Nothing was seen: no number."""
    assert all(math.isnan(each) for each in loss_metrics([]).values())


def test_losses_that_exploded():
    """Squares that no float can hold do no harm."""
    assert loss_metrics([1e200, 1e200])["rms_loss"] == pytest.approx(1e200)
