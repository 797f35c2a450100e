"""The robust rules beside plain numpy, and under attack."""

from dataclasses import dataclass

import numpy as np
import pytest

from antiphon.strategies.aggregation.additive import reduce_additive
from antiphon.strategies.aggregation.centered_clip import centered_clip
from antiphon.strategies.aggregation.contribution import Aggregation, Contribution
from antiphon.strategies.aggregation.coordinate_median import median
from antiphon.strategies.aggregation.fltrust import fltrust
from antiphon.strategies.aggregation.geometric_median import geometric_median
from antiphon.strategies.aggregation.multi_krum import multi_krum
from antiphon.strategies.aggregation.trimmed_mean import trimmed_mean

A, B = "m.lora_A.weight", "m.lora_B.weight"
RULES = {
    "trimmed_mean": trimmed_mean(),
    "median": median(),
    "multi_krum": multi_krum(),
    "geometric_median": geometric_median(),
    "centered_clip": centered_clip(),
    "fltrust": fltrust(trusted="c0"),
}


@dataclass(frozen=True)
class Points:
    """One vector for each client. points (n, numbers)."""

    clients: tuple[str, ...]
    weights: np.ndarray
    points: np.ndarray


def combined(rule: Aggregation, sent: Points) -> np.ndarray:
    """What a rule makes of vectors."""
    start = {"all": np.zeros(sent.points.shape[1])}
    cohort = [
        Contribution(name, weight, start, {"all": point}, 1.0)
        for name, weight, point in zip(sent.clients, sent.weights, sent.points, strict=True)
    ]
    return reduce_additive(rule, start, cohort).delta["all"]


def points(count=10, attackers=0, lie=-10.0, seed=0):
    """Clients near one point of 30 numbers; the last ones send the way back."""
    rng = np.random.default_rng(seed)
    found = 1.0 + 0.3 * rng.normal(size=(count, 30))
    found[count - attackers :] *= lie
    names = tuple(f"c{at}" for at in range(count))
    return Points(names, np.full(count, 1 / count), found)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("attackers", [1, 2])
@pytest.mark.parametrize("lie", [-10.0, -1000.0, -1.0])
def test_two_of_ten_do_not_carry_a_rule_away(rule, attackers, lie):
    """The aggregate stays near the honest clients' mean, however long the lie."""
    sent = points(attackers=attackers, lie=lie)
    honest = sent.points[: 10 - attackers].mean(axis=0)

    got = combined(RULES[rule], sent)

    assert np.linalg.norm(got - honest) < 0.45 * np.linalg.norm(honest)


@pytest.mark.parametrize("rule", RULES)
def test_alike_clients_are_averaged(rule):
    """Where all say the same, that is the aggregate."""
    sent = Points(("c0", "c1", "c2", "c3"), np.full(4, 0.25), np.full((4, 5), 2.0))

    np.testing.assert_allclose(combined(RULES[rule], sent), np.full(5, 2.0))


def test_the_trimmed_mean_leaves_out_both_ends():
    """Two of ten from either end of each number, as numpy sorts them."""
    sent = points()
    expected = np.sort(sent.points, axis=0)[2:8].mean(axis=0)

    np.testing.assert_allclose(combined(trimmed_mean(hostile=0.2), sent), expected)


def test_the_median_is_numpys():
    """Of an even and of an odd count."""
    for count in (9, 10):
        sent = points(count)
        np.testing.assert_allclose(combined(median(), sent), np.median(sent.points, axis=0))


def test_the_geometric_median_has_the_smallest_sum_of_distances():
    """No nearby point has a smaller one."""
    sent, rng = points(attackers=2), np.random.default_rng(3)

    def cost(at):
        return np.linalg.norm(sent.points - at, axis=1).sum()

    got = combined(geometric_median(iterations=200), sent)

    assert all(cost(got) <= cost(got + 0.01 * rng.normal(size=30)) for _ in range(100))


def test_krum_keeps_weights_among_those_it_keeps():
    """A client that is left out counts nothing, the others by their examples."""
    sent = points(attackers=1)
    weights = np.arange(1.0, 11.0) / 55
    kept = weights[:9] / weights[:9].sum()

    got = combined(multi_krum(hostile=0.1), Points(sent.clients, weights, sent.points))

    np.testing.assert_allclose(got, kept @ sent.points[:9])


def test_without_the_trusted_client_the_model_stays():
    """FLTrust believes nobody in a round in which it has nothing to hold them against."""
    assert not combined(fltrust(trusted="elsewhere"), points()).any()


def test_the_trusted_client_bounds_the_length():
    """However far others have gone, the aggregate is as long as the trusted update at most."""
    sent = points()
    longer = Points(sent.clients, sent.weights, sent.points * np.array([[1.0], *[[50.0]] * 9]))

    got = combined(fltrust(trusted="c0"), longer)

    assert np.linalg.norm(got) <= np.linalg.norm(sent.points[0]) * (1 + 1e-9)


def test_centred_clipping_from_zero_in_one_step_is_clipping():
    """With one step, each change is clipped to the median length and averaged."""
    sent = points(attackers=1)
    lengths = np.linalg.norm(sent.points, axis=1)
    short = sent.points * np.minimum(1, np.median(lengths) / lengths)[:, None]

    got = combined(centered_clip(iterations=1), sent)

    np.testing.assert_allclose(got, short.mean(axis=0))


def test_a_rule_on_factors_looks_at_their_products():
    """A client whose factors only turn is none that Krum leaves out, but one in the middle."""
    rng = np.random.default_rng(0)
    start = {A: rng.normal(size=(4, 16)).astype("f4"), B: rng.normal(size=(24, 4)).astype("f4")}

    def learnt(i):
        return {name: (0.02 * rng.normal(size=t.shape)).astype("f4") for name, t in start.items()}

    turned = {A: 3 * start[A], B: -start[B] * np.float32(3 / 4)}
    deltas = [*(learnt(i) for i in range(6)), turned]
    cohort = [Contribution(f"c{i}", 1.0, start, each, 1.0) for i, each in enumerate(deltas)]
    got = multi_krum(hostile=0.0).aggregate(start, 1.0, cohort).params

    moved = got[B].astype(float) @ got[A] - start[B].astype(float) @ start[A]

    assert np.linalg.norm(moved) < 1.0
