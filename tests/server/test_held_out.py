"""What clients say that they have measured is bounded before anybody reads it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import UpdateError
from antiphon.core.events import Evaluated, RoundEvaluated
from antiphon.server.folding.held_out import METRICS, MOST_LOSS, median_loss, read_measurement
from antiphon.server.planning.telemetry import Accumulator


def of(*losses):
    """One measurement for each loss."""
    return [read_measurement(1, f"c{i}", 10, {"loss": loss}) for i, loss in enumerate(losses)]


@given(st.dictionaries(st.sampled_from(METRICS), st.floats(), max_size=5), st.integers(0, 2**64))
def test_what_is_taken_is_finite_and_in_its_range(metrics, examples):
    """Whatever numbers a client says, a measurement holds only such as can be true."""
    try:
        taken = read_measurement(3, "mallory", examples, metrics)
    except UpdateError:
        return

    assert taken.loss is None or 0 <= taken.loss <= MOST_LOSS
    assert taken.perplexity is None or math.isfinite(taken.perplexity)
    assert all(v is None or 0 <= v <= 1 for v in (taken.accuracy, taken.rouge_l, taken.exact_match))


@pytest.mark.parametrize(
    "metrics",
    [
        {"accuracy": 1.5},
        {"rouge_l": -0.1},
        {"exact_match": 2.0},
        {"accuracy": math.inf},
        {"loss": -1.0},
        {"x": 1.0},
    ],
)
def test_what_cannot_be_true_is_refused(metrics):
    """A share outside [0, 1], a negative loss, an unknown metric."""
    with pytest.raises(UpdateError):
        read_measurement(1, "mallory", 10, metrics)


@pytest.mark.parametrize("loss", [math.inf, math.nan, 1e300])
def test_a_broken_model_has_the_largest_loss(loss):
    """An honest client whose model has exploded says so with no number: it is not left out."""
    assert read_measurement(1, "site", 10, {"loss": loss}).loss == MOST_LOSS


def test_a_perplexity_is_not_believed():
    """It follows from the loss."""
    taken = read_measurement(1, "mallory", 10, {"loss": 1.0, "perplexity": 1e9})

    assert taken.perplexity == pytest.approx(math.e)


def test_one_client_of_two_does_not_steer_a_run():
    """Of two losses the lower one counts: one cannot undo what the other has learned."""
    assert median_loss(of(math.inf, 0.7)) == 0.7


def test_one_client_of_three_does_not_steer_a_run():
    """A claimed loss of nothing leaves the median where the others are."""
    assert median_loss(of(0.0, 0.7, 0.8)) == 0.7


def test_policies_read_the_median():
    """The losses that a policy sees are medians of the clients, whatever mean the round has."""
    accumulator = Accumulator()
    for each in of(0.7, 0.8, 9999.0):
        accumulator.hear(each, 1.0)

    accumulator.hear(RoundEvaluated(1, {"loss": 3333.8}), 1.0)

    assert accumulator.telemetry(2, 1.0).run.losses == ((1, 0.8),)


def test_measurements_of_an_undone_evaluation_do_not_count():
    """A client that measures again after a resume has one voice."""
    accumulator = Accumulator()
    for loss in (5.0, 0.5):
        accumulator.hear(Evaluated(1, "site", 10, loss=loss), 1.0)

    accumulator.hear(RoundEvaluated(1, {"loss": 0.5}), 1.0)

    assert accumulator.telemetry(2, 1.0).run.losses == ((1, 0.5),)
