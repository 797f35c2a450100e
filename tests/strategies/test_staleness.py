"""How an update counts that began before the round that folds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies.served import lora, seeds, walk
from tests.strategies.served import sent as sent_delta

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Update
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.server_opt.optimizers import sgd
from antiphon.strategies.staleness import discount, discounted

A, B = "layer.lora_A.weight", "layer.lora_B.weight"
RNG = np.random.default_rng(0)
PARAMS = {
    A: RNG.standard_normal((2, 3), dtype=np.float32),
    B: RNG.standard_normal((4, 2), dtype=np.float32),
}
LORA = lora(aggregation=factors(), optimizer=sgd(), lora_alpha=4, r=2)
SEEDS = seeds(num_seeds=8, key=5, optimizer=sgd())


def delta(seed: int) -> dict[str, FloatArray]:
    """Return a delta of the adapter above."""
    rng = np.random.default_rng(seed)
    return {k: rng.standard_normal(v.shape, dtype=np.float32) for k, v in PARAMS.items()}


def sent(client: str, examples: int, staleness: int = 0) -> Update:
    """Return a client's delta; its seed is the number of examples."""
    return Update(client, 1, examples, 1, sent_delta(delta(examples)), staleness=staleness)


def steps(client: str, value: float, staleness: int = 0, rate: float | None = None) -> Update:
    """Return one step of this scalar along seed 3."""
    payload = walk(np.array([3], dtype=np.uint32), np.array([value], dtype=np.float32))
    return Update(client, 1, 10, 1, payload, staleness=staleness, learning_rate=rate)


def coefficient(*updates: Update, learning_rate: float = 0.5) -> float:
    """Return how far a fold moves the model along seed 3."""
    folded = SEEDS.fold(SEEDS.init({}), updates, learning_rate)
    return float(folded.state["params/coefficients"][3])


@pytest.mark.parametrize(("staleness", "counts"), [(0, 1.0), (3, 0.5), (8, 1 / 3)])
def test_the_discount_of_the_paper(staleness: int, counts: float) -> None:
    """s(τ) = 1 / √(1 + τ)."""
    assert discount(staleness) == counts


@given(st.integers(0, 10**6))
def test_the_discount_falls_and_stays_positive(staleness: int) -> None:
    """The more stale, the less an update counts; never nothing."""
    assert 0 < discount(staleness + 1) < discount(staleness) <= 1


def test_no_update_comes_from_the_future() -> None:
    """A negative staleness is refused."""
    with pytest.raises(UpdateError, match="-1"):
        discount(-1)


def test_a_fresh_delta_is_untouched() -> None:
    """With τ = 0 it is the very object that was given."""
    fresh = delta(1)

    assert discounted(fresh, 0) is fresh


def test_a_stale_delta_is_scaled_tensor_by_tensor() -> None:
    """All names are there, float32 as before, times s(τ)."""
    stale = discounted(delta(1), 3)

    assert set(stale) == {A, B}
    assert all(stale[name].dtype == np.float32 for name in stale)
    np.testing.assert_array_equal(stale[A], 0.5 * delta(1)[A])


def test_lora_folds_the_weighted_mean_of_discounted_deltas() -> None:
    """w ← w + Σ pᵢ s(τᵢ) Δᵢ with pᵢ the shares of examples: s is not part of the weight."""
    folded = LORA.fold(LORA.init(PARAMS), [sent("a", 10), sent("b", 30, staleness=3)], 0.0)

    expected = PARAMS[B] + 0.25 * delta(10)[B] + 0.75 * 0.5 * delta(30)[B]
    np.testing.assert_allclose(folded.state[f"params/{B}"], expected, rtol=1e-6)


def test_a_buffer_of_equally_stale_deltas_moves_less() -> None:
    """The discount is not divided out again: four times 1/2 of a step is half a step."""
    fresh = LORA.fold(LORA.init(PARAMS), [sent("a", 10)], 0.0).state[f"params/{B}"]
    stale = LORA.fold(LORA.init(PARAMS), [sent("a", 10, staleness=3)], 0.0).state[f"params/{B}"]

    np.testing.assert_allclose(stale - PARAMS[B], 0.5 * (fresh - PARAMS[B]), rtol=1e-5, atol=1e-7)


def test_seeds_fold_discounted_scalars() -> None:
    """Σ pᵢ s(τᵢ) cᵢ, along the same directions."""
    assert coefficient(steps("a", 2.0), steps("b", 4.0, staleness=3)) == pytest.approx(-0.5 * 2.0)


def test_seeds_keep_the_rate_of_their_assignment() -> None:
    """A client steps with the rate it was given: a later round's is not its own."""
    assert coefficient(steps("a", 2.0, rate=0.25)) == pytest.approx(-0.25 * 2.0)


@given(st.floats(-9, 9, width=32), st.floats(0.001, 1.0))
def test_fresh_scalars_fold_as_ever(value: float, rate: float) -> None:
    """With τ = 0 and the round's own rate, not a bit differs."""
    labelled = coefficient(steps("a", value, 0, rate), learning_rate=rate)

    assert labelled == coefficient(steps("a", value), learning_rate=rate)
