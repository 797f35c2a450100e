"""The stability guard: when it fires, and what an undo brings back."""

import math

import numpy as np
import pytest

from antiphon.core.types import State
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.fold import Context
from antiphon.strategies.guard import guard, learning_rate_scale, reported_loss, undo
from antiphon.strategies.state import prefixed

STAGE, CONTEXT = guard(1.5), Context(1)


def state(value: float) -> dict[str, np.ndarray]:
    """A one-number state."""
    return {"params/coefficients": np.array([value])}


def report(client: str, loss: float | None, examples: int = 10) -> Contribution:
    """A contribution that reports a loss."""
    return Contribution(client, examples, {}, {}, 1.0, loss=loss)


def fired(before: State, loss: float) -> bool:
    """Whether a round with this loss is undone."""
    return STAGE.each(before, [report("a", loss)], CONTEXT).restored is not None


def after(before: State, value: float, loss: float) -> State:
    """The state after a round that the guard lets pass."""
    seen = STAGE.each(before, [report("a", loss)], CONTEXT)
    assert seen.restored is None
    return {**state(value), **prefixed("guard", seen.kept)}


@pytest.mark.parametrize(
    ("loss", "fires"), [(1.4, False), (1.6, True), (math.nan, True), (math.inf, True)]
)
def test_fires_beyond_the_factor_or_where_not_finite(loss, fires):
    """With factor 1.5 and a best loss of 1."""
    assert fired(after(state(0), 1, loss=1.0), loss) is fires


def test_any_finite_first_loss_is_calm():
    """Before the first report there is nothing to compare with."""
    assert not fired(state(0), 1e9)


def test_the_best_loss_only_falls():
    """A worse round does not raise the bar."""
    kept = after(after(state(0), 1, loss=1.0), 2, loss=1.3)

    assert fired(kept, 1.6)


def test_undo_brings_back_the_state_before_the_last_fold():
    """One fold back, at half the rate."""
    kept = after(after(state(0), 1, loss=1.0), 2, loss=1.0)

    back = undo(kept)

    assert back["params/coefficients"] == [1.0]
    assert learning_rate_scale(back) == 0.5


def test_a_second_undo_only_halves_the_rate_again():
    """There is one state to go back to; after that the rate alone gives way."""
    back = undo(undo(after(state(0), 1, loss=1.0)))

    assert back["params/coefficients"] == [0.0]
    assert learning_rate_scale(back) == 0.25


def test_memory_does_not_grow_with_the_rounds():
    """A state holds one previous state, not a chain of them."""
    kept: State = state(0)

    for _ in range(5):
        kept = after(kept, 1, loss=1.0)

    assert len(kept) == 4


def test_a_minority_can_not_undo_a_round():
    """One of three clients reports NaN: the median is calm."""
    reports = [report("a", math.nan), report("b", 1.0), report("c", 1.1)]

    assert reported_loss(reports) == 1.1


def test_claimed_examples_do_not_decide_the_median():
    """A client that claims most of the examples has one voice."""
    reports = [report("a", 5.0, 100), report("b", 1.0), report("c", 1.1)]

    assert reported_loss(reports) == 1.1


def test_one_client_of_two_can_not_undo_a_round():
    """Of two reports the calm one counts."""
    reports = [report("a", math.inf), report("b", 1.0)]

    assert reported_loss(reports) == 1.0


def test_two_clients_that_agree_undo_a_round():
    """Where all of a small cohort say that it exploded, it has."""
    reports = [report("a", math.inf), report("b", math.nan)]

    assert reported_loss(reports) == math.inf


def test_no_reports_no_loss():
    """Clients that do not measure leave the guard blind, not broken."""
    assert reported_loss([report("a", None)]) is None
