"""Lengths and angles of changes, from thin factors, as from the dense matrices."""

import numpy as np
import pytest

from antiphon.strategies.aggregation.change import change_norms, change_products, factor_norms
from antiphon.strategies.aggregation.contribution import Contribution

A, B = "m.lora_A.weight", "m.lora_B.weight"
SCALE = 2.0


def adapter(seed, r=3, size=1.0):
    rng = np.random.default_rng(seed)
    shapes = {A: (r, 16), B: (24, r), f"n.{A}": (r, 9), f"n.{B}": (7, r)}
    return {name: (size * rng.normal(size=s)).astype(np.float32) for name, s in shapes.items()}


def contributions(factor=1.0):
    """Four clients of one start, of deltas that are small beside it."""
    start = adapter(0)
    return start, [
        Contribution(f"c{i}", 1.0, start, adapter(i, size=1e-3), SCALE, factor) for i in range(1, 5)
    ]


def dense(each):
    """All that a client changes of the model, as one vector."""
    parts = []
    for prefix in ("", "n."):
        b, a = (each.start[prefix + k].astype(np.float64) for k in (B, A))
        moved = (b + each.delta[prefix + B]) @ (a + each.delta[prefix + A]) - b @ a
        parts.append((each.factor * each.scale * moved).ravel())
    return np.concatenate(parts)


def test_norms_are_those_of_the_dense_changes():
    """Also where a change is a thousandth of what it changes."""
    start, cohort = contributions()

    expected = [np.linalg.norm(dense(each)) for each in cohort]

    assert change_norms(start, cohort) == pytest.approx(expected, rel=1e-9)


def test_products_are_those_of_the_dense_changes():
    """All pairs, over all modules."""
    start, cohort = contributions(factor=0.5)
    changes = np.stack([dense(each) for each in cohort])

    np.testing.assert_allclose(change_products(start, cohort), changes @ changes.T, rtol=1e-9)


def test_factors_that_only_turn_reach_nowhere():
    """Other factors of the same product are no change of the model, however long their delta."""
    start = {A: np.eye(2, 5, dtype=np.float32), B: np.eye(6, 2, dtype=np.float32)}
    turned = {A: 3 * start[A], B: -start[B] * 3 / 4}  # (B/4)(4A) = BA
    (norm,) = change_norms(start, [Contribution("c", 1.0, start, turned, SCALE)])

    assert norm == pytest.approx(0.0, abs=1e-12)


def test_the_same_turn_is_long_to_a_mean_of_factors():
    """A rule that averages factors is moved by it, so its length is that of the delta."""
    start = {A: np.eye(2, 5, dtype=np.float32), B: np.eye(6, 2, dtype=np.float32)}
    turned = {A: 3 * start[A], B: -start[B] * 3 / 4}
    (norm,) = factor_norms(start, [Contribution("c", 1.0, start, turned, SCALE)])

    assert norm == pytest.approx(np.sqrt(2 * (9 + 9 / 16)))
