"""What every installed server optimizer has in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members.installed import cases

from antiphon.core.tensors import from_bytes, to_bytes


@pytest.fixture(scope="module", params=cases("server_opt"), ids=str)
def optimizer(request):
    return request.param.build()


def deltas(rounds, dtype=np.float32, seed=3):
    """Random deltas of two tensors, one for each round."""
    rng = np.random.default_rng(seed)
    shapes = {"w": (4, 3), "c": (7,)}
    return [
        {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
        for _ in range(rounds)
    ]


def path(optimizer, steps):
    """Where the optimizer goes from zero."""
    params = {name: np.zeros_like(tensor) for name, tensor in steps[0].items()}
    state = optimizer.init(params)
    for delta in steps:
        state, params = optimizer.apply(state, params, delta)
    return params


def copied(tensors):
    return {name: tensor.copy() for name, tensor in tensors.items()}


def assert_same_bits(got, expected):
    assert to_bytes(got) == to_bytes(expected)


def test_a_zero_delta_leaves_a_fresh_start_unchanged(optimizer):
    """Nothing moved yet, nothing moves: bit for bit, round after round."""
    (params,) = deltas(1)
    state, zero = optimizer.init(params), {name: np.zeros_like(params[name]) for name in params}

    after = params
    for _ in range(3):
        state, after = optimizer.apply(state, after, zero)

    assert_same_bits(after, params)


def test_a_state_read_back_goes_on_the_same(optimizer):
    """After three rounds, a state that went through a file gives the same three rounds, bit for bit."""
    (params, *before), after = deltas(4), deltas(3, seed=4)
    state = optimizer.init(params)
    for delta in before:
        state, params = optimizer.apply(state, params, delta)
    direct, resumed = (state, params), (from_bytes(to_bytes(state)), from_bytes(to_bytes(params)))

    for delta in after:
        direct, resumed = (optimizer.apply(*each, delta) for each in (direct, resumed))

    assert_same_bits(resumed[0], direct[0])
    assert_same_bits(resumed[1], direct[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_names_shapes_and_dtypes_are_kept(optimizer, dtype):
    """Adapters are float32, seed coefficients float64: parameters and state stay what they were."""
    params, first, second = deltas(3, dtype)
    state = optimizer.init(params)

    after, moved = optimizer.apply(*optimizer.apply(state, params, first), second)

    for got, expected in ((moved, params), (after, state)):
        assert {k: (v.shape, v.dtype) for k, v in got.items()} == {
            k: (v.shape, v.dtype) for k, v in expected.items()
        }
    assert all(np.isfinite(tensor).all() for tensor in moved.values())


def test_the_first_step_goes_along_the_delta(optimizer):
    """params + delta is progress: whoever walks the other way undoes what the clients learnt."""
    params, delta = deltas(2)

    _, after = optimizer.apply(optimizer.init(params), params, delta)

    assert sum(float(np.vdot(after[name] - params[name], delta[name])) for name in params) > 0


def test_what_came_in_is_not_changed(optimizer):
    """State, parameters and delta are values: the same ones give the same step again."""
    params, warm, delta = deltas(3)
    state, params = optimizer.apply(optimizer.init(params), params, warm)
    given_values = (state, params, delta)
    kept = [copied(each) for each in given_values]

    first, second = (optimizer.apply(*given_values) for _ in range(2))

    for got, expected in zip((*second, *given_values), (*first, *kept), strict=True):
        assert_same_bits(got, expected)


@settings(max_examples=20)
@given(a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_who_says_linear_is_linear_in_the_deltas(optimizer, a, b):
    """The path of a mixture of delta sequences is the mixture of their paths: seeds rely on it."""
    one, other = deltas(4, np.float64), deltas(4, np.float64, seed=5)
    mixed = [{n: a * x[n] + b * y[n] for n in x} for x, y in zip(one, other, strict=True)]

    got, left, right = (path(optimizer, each)["w"] for each in (mixed, one, other))

    assert not optimizer.linear or np.allclose(got, a * left + b * right, rtol=0, atol=1e-9)
