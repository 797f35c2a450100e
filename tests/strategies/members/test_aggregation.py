"""What every installed aggregation has in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members.installed import cases

from antiphon.core.errors import UpdateError
from antiphon.core.tensors import LazyTensors, write_tensors
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.aggregation.restrict import restrict

A, B = "m.lora_A.weight", "m.lora_B.weight"
ALPHA, RANK = 8.0, 4
SCALE = ALPHA / RANK
LITTLE = 0.02  # a delta this small has a norm below one: a bound on norms leaves it alone


@pytest.fixture(scope="module", params=cases("aggregation"), ids=str)
def aggregation(request):
    return request.param.build()


def adapter(seed, r=RANK, size=1.0):
    """Random factors of two modules of different shapes."""
    rng = np.random.default_rng(seed)
    shapes = {A: (r, 16), B: (24, r), f"n.{A}": (r, 9), f"n.{B}": (7, r)}
    return {name: (size * rng.normal(size=s)).astype(np.float32) for name, s in shapes.items()}


def contribution(start, i, r=RANK, size=0.2):
    """What client i has learnt from the start, or from its restriction to rank r."""
    scale = ALPHA / r
    begin = start if r == RANK else restrict(start, r, scale=SCALE, scale_at_r=scale)
    return Contribution(f"client-{i}", 10.0 + i, begin, adapter(100 + i, r, size), scale)


def cohort(start, *ranks, size=0.2):
    return [contribution(start, i, r, size) for i, r in enumerate(ranks)]


def products(params):
    """What the model gets of the factors, module by module."""
    return {b: params[b].astype(np.float64) @ params[b.replace("_B", "_A")] for b in (B, f"n.{B}")}


def assert_same_model(got, expected, rtol=1e-6):
    for module, product in products(expected).items():
        apart = np.linalg.norm(products(got)[module] - product)
        assert apart <= rtol * np.linalg.norm(product)


def assert_same_bits(got, expected):
    assert got.params.keys() == expected.params.keys()
    for name, tensor in expected.params.items():
        np.testing.assert_array_equal(got.params[name], tensor)
    np.testing.assert_equal(got.error, expected.error)


@settings(max_examples=10)
@given(order=st.permutations(range(4)))
def test_the_order_of_clients_changes_no_bit(aggregation, order):
    """Contributions are summed in one order, whatever order they came in."""
    start = adapter(0)
    contributions = cohort(start, 4, 4, 4, 4)
    expected = aggregation.aggregate(start, SCALE, contributions)

    got = aggregation.aggregate(start, SCALE, [contributions[i] for i in order])

    assert_same_bits(got, expected)


def test_zero_deltas_leave_the_model_unchanged(aggregation):
    """A round in which nobody learnt anything gives the global product back."""
    start = adapter(0)

    got = aggregation.aggregate(start, SCALE, cohort(start, 4, 4, 4, size=0.0))

    assert_same_model(got.params, start)
    assert not got.error > 1e-6


def test_one_client_alone_gives_its_own_product(aggregation):
    """N = 1: the mean of one is the one, and it is exact."""
    start = adapter(0)
    (only,) = cohort(start, 4, size=LITTLE)

    got = aggregation.aggregate(start, SCALE, [only])

    assert_same_model(got.params, {name: start[name] + only.delta[name] for name in start})
    assert not got.error > 1e-6


@settings(max_examples=10)
@given(factor=st.floats(1e-3, 1e3))
def test_only_shares_of_weights_count(aggregation, factor):
    """Multiplying all weights by one number changes nothing."""
    start = adapter(0)
    contributions = cohort(start, 4, 4, 4)
    scaled = [
        Contribution(each.client, factor * each.weight, each.start, each.delta, each.scale)
        for each in contributions
    ]

    one, other = (aggregation.aggregate(start, SCALE, each) for each in (contributions, scaled))

    assert_same_model(one.params, other.params)


def test_factors_keep_names_shapes_and_dtype(aggregation):
    """The next round's clients load them by name; the error is a share, or NaN where not measured."""
    start = adapter(0)

    got = aggregation.aggregate(start, SCALE, cohort(start, 4, 4, 4))

    assert {k: (v.shape, v.dtype) for k, v in got.params.items()} == {
        k: (v.shape, np.dtype(np.float32)) for k, v in start.items()
    }
    assert all(np.isfinite(tensor).all() for tensor in got.params.values())
    assert isinstance(got.error, float)
    assert got.error >= 0 or np.isnan(got.error)


def test_what_came_in_is_not_changed(aggregation):
    """Start and deltas are the caller's: a fold may be repeated with them."""
    start = adapter(0)
    contributions = cohort(start, 4, 4)

    first, second = (aggregation.aggregate(start, SCALE, contributions) for _ in range(2))

    assert_same_bits(second, first)
    for got, expected in ((start, adapter(0)), (contributions[0].delta, adapter(100, size=0.2))):
        assert all((got[name] == expected[name]).all() for name in expected)


def test_deltas_on_disk_fold_like_those_in_memory(aggregation, tmp_path_factory):
    """A delta may be a mapping over a file that reads one tensor at a time."""
    folder, start, lazy = tmp_path_factory.mktemp("deltas"), adapter(0), []
    contributions = cohort(start, 4, 4, 4)
    for each in contributions:
        write_tensors(folder / each.client, each.delta)
        on_disk = LazyTensors(folder / each.client)
        lazy.append(Contribution(each.client, each.weight, start, on_disk, each.scale))

    got = aggregation.aggregate(start, SCALE, lazy)

    assert_same_bits(got, aggregation.aggregate(start, SCALE, contributions))


def test_mixed_ranks_are_folded_or_refused(aggregation):
    """Clients of smaller ranks give factors of the global shapes, or an UpdateError, nothing else."""
    start = adapter(0)

    try:
        got = aggregation.aggregate(start, SCALE, cohort(start, 4, 2, 1)).params
    except UpdateError:
        return

    assert {k: v.shape for k, v in got.items()} == {k: v.shape for k, v in start.items()}
    assert all(np.isfinite(tensor).all() for tensor in got.values())


@pytest.mark.parametrize(
    "broken",
    [
        lambda start: [],
        lambda start: cohort(start, 4) * 2,
        lambda start: [Contribution("a", 0.0, start, adapter(1), SCALE)],
        lambda start: [Contribution("a", -1.0, start, adapter(1), SCALE)],
        lambda start: [Contribution("a", float("nan"), start, adapter(1), SCALE)],
        lambda start: [Contribution("a", 1.0, start, adapter(1, r=2), SCALE)],
    ],
    ids=["nobody", "twice", "no weight", "weight below 0", "weight NaN", "another shape"],
)
def test_what_cannot_be_combined_is_refused(aggregation, broken):
    """Nobody, a client twice, no weight, a delta of other shapes than its start: an UpdateError."""
    start = adapter(0)

    with pytest.raises(UpdateError):
        aggregation.aggregate(start, SCALE, broken(start))
