"""Aggregation of LoRA factors: exact or nearest, whatever the order."""

import os
import subprocess
import sys

import numpy as np
import pytest

from antiphon.core.errors import UpdateError
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.aggregation.each_module import for_each_module
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.aggregation.product import product
from antiphon.strategies.aggregation.restrict import restrict

A, B = "m.lora_A.weight", "m.lora_B.weight"
RULES = [product(), factors()]
DIGEST = """
import hashlib
import numpy as np
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.aggregation.product import product
rng = np.random.default_rng(0)
shapes = {"m.lora_A.weight": (16, 1024), "m.lora_B.weight": (1024, 16)}
made = [{n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()} for _ in range(9)]
cohort = [Contribution(str(i), 1.0, made[0], delta, 2.0) for i, delta in enumerate(made[1:])]
got = product().aggregate(made[0], 2.0, cohort).params
print(hashlib.sha256(b"".join(got[name].tobytes() for name in shapes)).hexdigest())
"""


def adapter(seed, r=4, d_out=24, d_in=16, size=1.0):
    """Random factors of one module."""
    rng = np.random.default_rng(seed)
    a, b = size * rng.normal(size=(r, d_in)), size * rng.normal(size=(d_out, r))
    return {A: a.astype(np.float32), B: b.astype(np.float32)}


def dense(params, scale=1.0):
    """The product in float64."""
    return scale * params[B].astype(np.float64) @ params[A]


def local(each):
    """A client's factors after training."""
    return {name: each.start[name].astype(np.float64) + each.delta[name] for name in each.delta}


def client(start, i, rank, alpha=8.0):
    """A contribution from a restricted start."""
    scale = alpha / rank
    begin = restrict(start, rank, scale=alpha / len(start[A]), scale_at_r=scale)
    return Contribution(f"client-{i}", 10.0 + i, begin, adapter(100 + i, rank, size=0.2), scale)


def cohort(start, ranks):
    """One client for each rank."""
    return [client(start, i, rank) for i, rank in enumerate(ranks)]


def mean_product(start, contributions, scale):
    """The target, computed densely."""
    total = sum(each.weight for each in contributions)
    return dense(start, scale) + sum(
        each.weight / total * each.scale * (dense(local(each)) - dense(each.start))
        for each in contributions
    )


def repeated(params):
    """Thirty modules with the same factors."""
    return {f"{i}.{name}": tensor for i in range(30) for name, tensor in params.items()}


def difficult(kind):
    """A start and six clients whose factors are nearly alike, dependent, or far apart in size."""
    start, rng = adapter(0), np.random.default_rng(1)
    contributions = cohort(start, [4] * 6)
    sizes = 10.0 ** rng.uniform(-8, 8, size=4)
    for each in contributions:
        a, b = each.delta[A], each.delta[B]
        if kind in ("close", "closer"):
            a *= 1e-4 if kind == "close" else 1e-7
            b *= 1e-4 if kind == "close" else 1e-7
        elif kind == "dependent":
            a[2:], b[:] = 0, b[:, :1]
        elif kind == "badly scaled":
            a[:], b[:] = a * sizes[:, None], b / sizes
    return start, contributions


def best(matrix, r):
    """The truncated SVD of a dense matrix."""
    u, sigma, vt = np.linalg.svd(matrix)
    return (u[:, :r] * sigma[:r]) @ vt[:r]


@pytest.mark.parametrize("rule", RULES)
def test_equal_a_is_exact(rule):
    """Where all clients kept the same A, the mean of products has rank r: both rules find it."""
    start = adapter(0)
    contributions = cohort(start, [4] * 5)
    for each in contributions:
        each.delta[A][:] = 0

    got = rule.aggregate(start, 2.0, contributions)

    np.testing.assert_allclose(
        dense(got.params, 2.0), mean_product(start, contributions, 2.0), atol=1e-4
    )
    assert got.error < 1e-6


@pytest.mark.parametrize("ranks", [[4, 4, 4], [4, 2, 1, 4], [1, 1], [2] * 7])
def test_product_is_the_dense_truncated_svd(ranks):
    """The small core finds what an SVD of the whole matrix finds, for mixed ranks too."""
    start = adapter(0)
    contributions = cohort(start, ranks)
    target = mean_product(start, contributions, 2.0)
    nearest = best(target, 4)

    got = product().aggregate(start, 2.0, contributions)

    np.testing.assert_allclose(dense(got.params, 2.0), nearest, atol=1e-4)
    wrong = np.linalg.norm(nearest - target) / np.linalg.norm(target)
    assert got.error == pytest.approx(wrong, abs=1e-6)


@pytest.mark.parametrize("kind", ["close", "closer", "dependent", "badly scaled"])
def test_gram_matrices_are_accurate_enough(kind):
    """A millionth of the whole at the most lies between the small core and the dense SVD."""
    start, contributions = difficult(kind)
    target = mean_product(start, contributions, 2.0)

    got = product().aggregate(start, 2.0, contributions)

    apart = np.linalg.norm(dense(got.params, 2.0) - best(target, 4))
    assert apart < 1e-6 * np.linalg.norm(target)


def test_close_clients_have_an_error_known_to_its_digits():
    """The cross terms of deltas of 1e-4 are no rounding of the whole: they are computed apart."""
    start, contributions = difficult("close")
    target = mean_product(start, contributions, 2.0)
    mean = {
        name: sum(each.weight * local(each)[name] for each in contributions)
        / sum(each.weight for each in contributions)
        for name in start
    }

    got = factors().aggregate(start, 2.0, contributions)

    wrong = np.linalg.norm(2.0 * mean[B] @ mean[A] - target) / np.linalg.norm(target)
    assert got.error == pytest.approx(wrong, rel=1e-4)


def test_a_sum_that_cancels_is_not_called_exact():
    """Mean factors whose product dwarfs the mean product: the reported error is large, not 0."""
    start = adapter(0, size=0.0)
    contributions = cohort(start, [4] * 4)
    for i, each in enumerate(contributions):
        each.delta[A][:] *= 10.0 ** (8 * (-1) ** i)
        each.delta[B][:] /= 10.0 ** (8 * (-1) ** i)

    got = factors().aggregate(start, 2.0, contributions)

    assert got.error > 1e6


@pytest.mark.parametrize("rule", RULES)
def test_modules_do_not_know_of_each_other(rule):
    """Thirty modules on all cores give the bits that each gives alone."""
    start = adapter(0)
    contributions = cohort(start, [4] * 3)
    alone = rule.aggregate(start, 2.0, contributions).params
    many = [
        Contribution(
            each.client, each.weight, repeated(each.start), repeated(each.delta), each.scale
        )
        for each in contributions
    ]

    got = rule.aggregate(repeated(start), 2.0, many).params

    for i in range(30):
        np.testing.assert_array_equal(got[f"{i}.{A}"], alone[A])
        np.testing.assert_array_equal(got[f"{i}.{B}"], alone[B])


@pytest.mark.slow
def test_blas_threads_change_no_bit():
    """A process with one BLAS thread and one with two end with the same factors."""
    digests = {
        count: subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"OPENBLAS_NUM_THREADS": count},
            capture_output=True,
            check=True,
        ).stdout
        for count in ("1", "2")
    }

    assert digests["1"] == digests["2"] != b""


def test_results_are_in_the_order_of_modules():
    """Whichever thread is done first."""
    start = repeated(adapter(0))

    got = for_each_module(start, [], lambda module: module)

    assert got == sorted(f"{i}.m" for i in range(30))


def test_factors_reports_the_error_of_its_cross_terms():
    """The error is that of s·B̄Ā against the mean product, as computed densely."""
    start = adapter(0)
    contributions = cohort(start, [4] * 3)
    target = mean_product(start, contributions, 2.0)

    got = factors().aggregate(start, 2.0, contributions)

    wrong = np.linalg.norm(dense(got.params, 2.0) - target) / np.linalg.norm(target)
    assert got.error == pytest.approx(wrong, abs=1e-6)


def test_product_is_never_worse_than_factors():
    """No rank-r adapter is nearer to the mean product than the truncated SVD."""
    start = adapter(0)
    contributions = cohort(start, [4] * 6)

    nearest, averaged = (rule.aggregate(start, 2.0, contributions) for rule in RULES)

    assert nearest.error < averaged.error


@pytest.mark.parametrize("ranks", [[4, 4], [4, 2]])
def test_zero_deltas_leave_the_factors_unchanged(ranks):
    """A round in which nobody learned anything gives the global factors back, bit for bit."""
    start = adapter(0)
    contributions = cohort(start, ranks)
    for each in contributions:
        each.delta[A][:], each.delta[B][:] = 0, 0

    got = product().aggregate(start, 2.0, contributions)

    assert got.error == 0
    for name in start:
        np.testing.assert_array_equal(got.params[name], start[name])


def test_small_deltas_move_the_factors_little():
    """Aligned by the Procrustes rotation: balanced factors stay near, however they are rotated."""
    first = product().aggregate(adapter(0), 2.0, cohort(adapter(0), [4] * 3)).params
    q, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(4, 4)))
    first = {A: (q.T @ first[A]).astype(np.float32), B: (first[B] @ q).astype(np.float32)}
    contributions = cohort(first, [4] * 3)
    for each in contributions:
        each.delta[A][:] *= 1e-3
        each.delta[B][:] *= 1e-3

    second = product().aggregate(first, 2.0, contributions).params

    for name in first:
        assert np.linalg.norm(second[name] - first[name]) < 0.01 * np.linalg.norm(first[name])


def test_product_is_balanced():
    """Σ^½ on both sides: BᵀB = AAᵀ, so that one client learning rate suits both factors."""
    start = adapter(0)

    got = product().aggregate(start, 2.0, cohort(start, [4] * 3)).params

    np.testing.assert_allclose(got[B].T @ got[B], got[A] @ got[A].T, atol=1e-4)


def test_a_component_that_vanished_can_still_learn():
    """A rank-1 target at rank 4 keeps four rows of A alive, so that B has gradients."""
    start = adapter(0) | {B: np.zeros((24, 4), np.float32)}
    delta = {A: np.zeros_like(start[A]), B: np.zeros_like(start[B])}
    delta[B][:, 0] = 1.0

    got = product().aggregate(start, 2.0, [Contribution("a", 1.0, start, delta, 2.0)]).params

    np.testing.assert_allclose(dense(got), np.outer(delta[B][:, 0], start[A][0]), atol=1e-5)
    assert (np.linalg.svd(got[A], compute_uv=False) > 0.1).all()


def test_what_small_clients_never_saw_stays():
    """A cohort of rank 1 with tiny deltas wipes out none of the global components."""
    start = adapter(0)
    contributions = cohort(start, [1, 1])
    for each in contributions:
        each.delta[A][:] *= 1e-3

    got = product().aggregate(start, 2.0, contributions).params

    before, after = (np.linalg.svd(dense(each), compute_uv=False) for each in (start, got))
    assert after[3] > 0.5 * before[3]


def test_factors_refuses_mixed_ranks():
    """Averaging matrices of different shapes has no meaning: the message names the other rule."""
    start = adapter(0)

    with pytest.raises(UpdateError, match=r"client-1 has rank 2.*`product`"):
        factors().aggregate(start, 2.0, cohort(start, [4, 2]))


def test_a_delta_of_another_shape_is_refused():
    """A delta of rank 2 for a start of rank 4 would broadcast or crash: it is refused by name."""
    start = adapter(0)
    broken = Contribution("a", 1.0, start, adapter(1, r=2), 2.0)

    with pytest.raises(UpdateError, match="started from"):
        product().aggregate(start, 2.0, [broken])


def test_half_a_pair_is_refused():
    """An A without its B is no adapter."""
    start = {A: adapter(0)[A]}

    with pytest.raises(UpdateError, match="pairs"):
        product().aggregate(start, 2.0, [Contribution("a", 1.0, start, start, 2.0)])
