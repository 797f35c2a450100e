"""What a client of another rank downloads."""

import numpy as np

from antiphon.strategies.aggregation.restrict import restrict

A, B = "m.lora_A.weight", "m.lora_B.weight"


def adapter(r=6):
    """Random factors of one module."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(r, 16)), rng.normal(size=(24, r))
    return {A: a.astype(np.float32), B: b.astype(np.float32)}


def test_restricted_is_the_best_of_its_rank():
    """Equal to the truncated SVD of the dense product, counting each side's alpha / r."""
    whole = adapter()
    u, sigma, vt = np.linalg.svd(2.0 * whole[B].astype(np.float64) @ whole[A])

    got = restrict(whole, 2, scale=2.0, scale_at_r=6.0)

    assert (got[A].shape, got[B].shape) == ((2, 16), (24, 2))
    np.testing.assert_allclose(6.0 * got[B] @ got[A], (u[:, :2] * sigma[:2]) @ vt[:2], atol=1e-4)


def test_the_same_rank_comes_back_as_it_is():
    """No rotation, no rounding."""
    whole = adapter()

    got = restrict(whole, 6, scale=2.0, scale_at_r=2.0)

    for name in whole:
        np.testing.assert_array_equal(got[name], whole[name])


def test_a_fresh_adapter_restricted_can_learn():
    """B = 0 stays 0, and the rows of A stay as large as they were."""
    fresh = adapter() | {B: np.zeros((24, 6), np.float32)}

    got = restrict(fresh, 2, scale=2.0, scale_at_r=6.0)

    assert not got[B].any()
    assert (np.linalg.norm(got[A], axis=1) >= np.linalg.norm(fresh[A], axis=1).mean()).all()


def test_a_larger_rank_holds_the_same_product():
    """Raising the rank adds directions that do not count yet."""
    whole = adapter(r=2)

    got = restrict(whole, 4, scale=4.0, scale_at_r=2.0)

    np.testing.assert_allclose(2.0 * got[B] @ got[A], 4.0 * whole[B] @ whole[A], atol=1e-4)


def test_a_rank_above_the_dimensions_is_padded():
    """A 3 × 3 module in an adapter of rank 6 keeps its shapes."""
    rng = np.random.default_rng(5)
    small = {A: rng.normal(size=(6, 3)), B: rng.normal(size=(3, 6))}
    small = {name: value.astype(np.float32) for name, value in small.items()}

    got = restrict(small, 5, scale=1.0, scale_at_r=1.0)

    assert (got[A].shape, got[B].shape) == ((5, 3), (3, 5))
    np.testing.assert_allclose(got[B] @ got[A], small[B] @ small[A], atol=1e-5)
