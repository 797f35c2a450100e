"""Server optimizers: equal to the formulas written out."""

import numpy as np
import pytest

from antiphon.core.errors import ConfigError
from antiphon.strategies.server_opt import optimizers

LINEAR = [optimizers.sgd(lr=0.7), optimizers.momentum(), optimizers.nesterov()]
ALL = [*LINEAR, optimizers.adam(), optimizers.yogi()]


def deltas(rounds: int, dtype: type = np.float64) -> list[dict[str, np.ndarray]]:
    """Random deltas, one for each round."""
    rng = np.random.default_rng(3)
    return [{"w": rng.normal(size=(4, 3)).astype(dtype)} for _ in range(rounds)]


def path(optimizer, steps):
    """Where the optimizer goes from zero."""
    params = {"w": np.zeros_like(steps[0]["w"])}
    state = optimizer.init(params)
    for delta in steps:
        state, params = optimizer.apply(state, params, delta)
    return params["w"]


def test_sgd_with_rate_one_adds_the_delta_exactly():
    """params + delta in float32, to the last bit."""
    rng = np.random.default_rng(0)
    params, delta = ({"w": rng.normal(size=1000).astype(np.float32)} for _ in range(2))
    sgd = optimizers.sgd()

    _, after = sgd.apply(sgd.init(params), params, delta)

    np.testing.assert_array_equal(after["w"], params["w"] + delta["w"])


def test_momentum_is_the_heavy_ball():
    """m ← 0.9m + δ; w ← w + lr·m."""
    steps = deltas(5)
    w, m = 0.0, 0.0
    for delta in steps:
        m = 0.9 * m + delta["w"]
        w = w + 0.5 * m

    got = path(optimizers.momentum(lr=0.5, momentum=0.9), steps)

    np.testing.assert_allclose(got, w, rtol=1e-12)


def test_nesterov_looks_ahead():
    """m ← 0.9m + δ; w ← w + lr·(δ + 0.9m), DiLoCo's outer step."""
    steps = deltas(5)
    w, m = 0.0, 0.0
    for delta in steps:
        m = 0.9 * m + delta["w"]
        w = w + 0.7 * (delta["w"] + 0.9 * m)

    got = path(optimizers.nesterov(), steps)

    np.testing.assert_allclose(got, w, rtol=1e-12)


def test_adam_is_algorithm_2_of_reddi():
    """FedAdam: no bias correction, second moment from τ², step lr·m / (√v + τ)."""
    steps = deltas(5)
    w, m, v = 0.0, 0.0, 1e-3**2
    for delta in steps:
        m = 0.9 * m + 0.1 * delta["w"]
        v = 0.99 * v + 0.01 * delta["w"] ** 2
        w = w + 0.01 * m / (np.sqrt(v) + 1e-3)

    got = path(optimizers.adam(), steps)

    np.testing.assert_allclose(got, w, rtol=1e-12)


def test_yogi_moves_the_second_moment_additively():
    """FedYogi: v ← v − (1 − b2)·δ²·sign(v − δ²)."""
    steps = deltas(5)
    w, m, v = 0.0, 0.0, 1e-3**2
    for delta in steps:
        square = delta["w"] ** 2
        m = 0.9 * m + 0.1 * delta["w"]
        v = v - 0.01 * square * np.sign(v - square)
        w = w + 0.01 * m / (np.sqrt(v) + 1e-3)

    got = path(optimizers.yogi(), steps)

    np.testing.assert_allclose(got, w, rtol=1e-12)


def test_linear_says_which_may_act_on_seed_coefficients():
    """sgd, momentum and nesterov are linear; adam and yogi are not."""
    assert [each.linear for each in ALL] == [True, True, True, False, False]


@pytest.mark.parametrize("arguments", [{"lr": 0.0}, {"lr": float("nan")}, {"momentum": 1.0}])
def test_senseless_arguments_are_refused(arguments):
    """A rate must be positive, a momentum below 1."""
    with pytest.raises(ConfigError, match="expected"):
        optimizers.momentum(**arguments)
