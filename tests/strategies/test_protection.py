"""One client's say is bounded, whatever it sends: through the methods' own folds."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.strategies.served import lora, seeds, walk
from tests.strategies.served import sent as sent_delta

from antiphon.core.types import Update
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.aggregation.product import product
from antiphon.strategies.protection.cap import cap
from antiphon.strategies.protection.clip import clip
from antiphon.strategies.protection.protection import Share, Usual, protected, remembered
from antiphon.strategies.server_opt.optimizers import sgd
from antiphon.strategies.state import under

A, B = "m.lora_A.weight", "m.lora_B.weight"
SEEDS = 64


def adapter(seed, size=1.0):
    rng = np.random.default_rng(seed)
    shapes = {A: (4, 16), B: (24, 4)}
    return {name: (size * rng.normal(size=s)).astype(np.float32) for name, s in shapes.items()}


START = adapter(0)


def delta(i, times=1.0):
    """What client i has learnt: a common part, and one of its own."""
    common, own = adapter(50, 0.02), adapter(100 + i, 0.01)
    return sent_delta({name: np.float32(times) * (common[name] + own[name]) for name in common})


def scalars(i, times=1.0):
    value = 1.0 + 0.3 * np.random.default_rng(i).normal(size=SEEDS)
    return walk(np.arange(SEEDS, dtype=np.uint32), (times * value).astype(np.float32))


def cohort(payload, **lie):
    """Nine honest clients and one that may lie: times (of its update), examples."""
    honest = [Update(f"c{i}", 1, 100, 1, payload(i)) for i in range(9)]
    times, examples = lie.get("times", 1.0), lie.get("examples", 100)
    return [*honest, Update("mallory", 1, examples, 1, payload(9, times))]


def method_lora(protections, aggregation=None):
    rule = aggregation or product()
    return lora(aggregation=rule, optimizer=sgd(), lora_alpha=8.0, r=4, protections=protections)


def method_of(way):
    """A method with the default protections."""
    bounds = [clip(), cap()]
    if way == "lora":
        return method_lora(bounds)
    return seeds(num_seeds=SEEDS, key=5, optimizer=sgd(), protections=bounds)


def moved_by_lora(protections, updates, aggregation=None):
    """How far the product has moved, as one vector."""
    method = method_lora(protections, aggregation)
    after = method.fold(method.init(START), updates, 0.0).state
    one, other = (p[f"{B}"].astype(float) @ p[f"{A}"] for p in (unnamed(after), START))
    return (one - other).ravel()


def unnamed(state):
    return under("params", state)


def moved_by_seeds(protections, updates):
    method = seeds(num_seeds=SEEDS, key=5, optimizer=sgd(), protections=protections)
    return method.fold(method.init({}), updates, 0.01).state["params/coefficients"]


WAYS = {
    "lora": (moved_by_lora, delta),
    "lora by factors": (lambda p, u: moved_by_lora(p, u, factors()), delta),
    "seeds": (moved_by_seeds, scalars),
}
LIES = {
    "flip": {"times": -10.0},
    "huge": {"times": -300.0},
    "claim": {"times": -1.0, "examples": 10**9},
    "both": {"times": -10.0, "examples": 10**9},
}


def agreement(one, other):
    """The cosine of two moves."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lie", LIES)
def test_one_liar_of_ten_turns_no_fold(way, lie):
    """With the default protections the model moves where the honest clients want it."""
    move, payload = WAYS[way]
    honest = move([], cohort(payload)[:9])

    got = move([clip(), cap()], cohort(payload, **LIES[lie]))

    assert agreement(got, honest) > 0.9
    assert 0.4 < np.linalg.norm(got) / np.linalg.norm(honest) < 1.1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lie", LIES)
def test_without_protection_the_same_liar_turns_it(way, lie):
    """What the test above shows is the protections' doing."""
    move, payload = WAYS[way]
    honest = move([], cohort(payload)[:9])

    got = move([], cohort(payload, **LIES[lie]))

    assert agreement(got, honest) < 0.5


@pytest.mark.parametrize("way", WAYS)
def test_a_cohort_without_outliers_is_folded_to_the_same_bits(way):
    """Protections that bound nobody change nothing."""
    move, payload = WAYS[way]

    np.testing.assert_array_equal(move([clip(), cap()], cohort(payload)), move([], cohort(payload)))


def test_who_was_held_back_is_told():
    """The journal can say whose update counted less."""
    method = method_lora([clip(), cap()])

    folded = method.fold(method.init(START), cohort(delta, times=30.0), 0.0)

    assert folded.held_back == ("mallory",)


def test_a_long_update_counts_in_the_same_direction():
    """Clipping keeps a direction: a site that is honest and far out still has a say."""
    alone = [Share("a", 1.0, 1.0), Share("b", 1.0, 1.0), Share("c", 1.0, 4.0)]

    assert protected([clip(multiple=2.0)], alone, Usual()).shares[2] == Share(
        "c", 1.0, 4.0, factor=0.5
    )


def test_clients_that_send_nothing_do_not_stop_the_others():
    """The usual length is that of the updates which move something."""
    shares = [
        Share("a", 1.0, 0.0),
        Share("b", 1.0, 0.0),
        Share("c", 1.0, 3.0),
        Share("d", 1.0, 3.0),
    ]

    assert list(protected([clip()], shares, Usual()).shares) == shares


def test_half_of_a_cohort_does_not_set_the_bound():
    """Two of four that claim much move the median nowhere: it is the lower one."""
    shares = [Share(name, weight) for name, weight in zip("abcd", (10, 10, 1e9, 1e9), strict=True)]

    assert [each.weight for each in protected([cap()], shares, Usual()).shares] == [10, 10, 20, 20]


def test_a_turn_of_factors_does_not_slip_through_a_mean_of_factors():
    """B·G⁻¹ and G·A are the same product, and move a mean of factors far."""
    times = np.float32(20)
    turned = {A: (times - 1) * START[A], B: (1 / times - 1) * START[B]}
    lie = Update("mallory", 1, 100, 1, sent_delta(turned))
    updates = [*cohort(delta)[:9], lie]
    honest = moved_by_lora([], cohort(delta)[:9], factors())

    bounded = moved_by_lora([clip(), cap()], updates, factors())

    assert agreement(bounded, honest) > 0.8


@pytest.mark.parametrize("way", ["lora", "seeds"])
def test_a_small_round_is_held_against_the_last_large_one(way):
    """A liar that waits until only two updates arrive is bounded all the same."""
    payload = {"lora": delta, "seeds": scalars}[way]
    method = method_of(way)
    after = method.fold(method.init(START if way == "lora" else {}), cohort(payload), 0.01).state
    pair = [Update("c0", 2, 100, 1, payload(0)), Update("mallory", 2, 10**9, 1, payload(9, -100.0))]

    folded = method.fold(after, pair, 0.01)

    assert folded.held_back == ("mallory",)


def test_what_was_usual_survives_being_written(tmp_path):
    """A resumed run bounds its small rounds as the undisturbed one would."""
    method = method_of("lora")
    after = method.fold(method.init(START), cohort(delta), 0.0).state
    save_file(dict(after), tmp_path / "state")

    assert remembered(load_file(tmp_path / "state")) == remembered(after) != Usual()


@pytest.mark.parametrize("count", [1, 2])
def test_a_first_pair_is_left_alone(count):
    """Of two nobody can say which one is unusual, before a larger round has been."""
    shares = [Share("a", 1.0, 1.0), Share("b", 1e9, 1e9)][:count]

    assert list(protected([clip(), cap()], shares, Usual()).shares) == shares


def test_what_the_operator_knows_of_its_sites_bounds_a_pair():
    """Two clients have no median to be held against, but an absolute bound."""
    shares = [Share("a", 300.0), Share("b", 1e9)]

    limited = protected([cap(most=500)], shares, Usual())

    assert [each.weight for each in limited.shares] == [300.0, 500.0]
