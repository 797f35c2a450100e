"""The server's half of method seeds: coefficients, Pro's probabilities, what is refused."""

import numpy as np
import pytest
from tests.strategies.served import seeds, walk
from tests.strategies.served import sent as sent_delta

from antiphon.client.forms.scalars import scalars
from antiphon.client.trainers.trainer import TrainerResult
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.seed_choice import given, pool
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.types import Assignment, Package, Update
from antiphon.strategies.forms.scalars import walks
from antiphon.strategies.forms.walk import Walk
from antiphon.strategies.guard import learning_rate_scale
from antiphon.strategies.server_opt import optimizers

K, KEY = 32, 5


def method(optimizer=None, **others):
    """The method with few seeds."""
    return seeds(num_seeds=K, key=KEY, optimizer=optimizer or optimizers.sgd(), **others)


def update(client, examples=10, steps=50, loss=None):
    """A client's random scalars."""
    rng = np.random.default_rng(ord(client))
    index = rng.integers(0, K, steps).astype(np.uint32)
    value = rng.normal(size=steps).astype(np.float32)
    metrics = {} if loss is None else {"loss": loss}
    return Update(client, 1, examples, steps, walk(index, value), metrics)


def trajectory(sent, learning_rate, directions):
    """Where a client walked, step by step."""
    w = np.zeros(directions.shape[1])
    for index, value in zip(
        sent.payload.arrays["index"], sent.payload.arrays["value"], strict=True
    ):
        w -= learning_rate * float(value) * directions[index]
    return w


def test_the_rebuilt_model_is_the_mean_of_the_trajectories():
    """w₀ + Σ C_k z_k equals the weighted mean of what the clients walked, step by step."""
    directions = np.random.default_rng(0).normal(size=(K, 7))
    one, other = update("a", 30), update("b", 10)
    served = method()

    state = served.fold(served.init({}), [one, other], 0.1).state

    walked = 0.75 * trajectory(one, 0.1, directions) + 0.25 * trajectory(other, 0.1, directions)
    np.testing.assert_allclose(state["params/coefficients"] @ directions, walked, atol=1e-12)


def test_nesterov_acts_on_coefficients_as_on_weights():
    """A linear optimizer commutes with the rebuild."""
    directions = np.random.default_rng(0).normal(size=(K, 7))
    outer, served, sent = optimizers.nesterov(), method(optimizers.nesterov()), update("a")
    walked = {"w": trajectory(sent, 0.1, directions)}
    state, weights = served.init({}), {"w": np.zeros(7)}
    memory = outer.init(weights)

    for _ in range(3):
        state = served.fold(state, [sent], 0.1).state
        memory, weights = outer.apply(memory, weights, walked)

    np.testing.assert_allclose(state["params/coefficients"] @ directions, weights["w"], atol=1e-12)


def test_download_holds_the_coefficients_that_are_not_zero():
    """Dense again, they are the state's, in float32; uniform sampling sends no probabilities."""
    served = method()
    state = served.fold(served.init({}), [update("a", steps=4)], 0.1).state

    sent = served.download(state, 8)

    assert len(sent.index) <= 4
    assert sent.probabilities is None
    np.testing.assert_array_equal(sent.dense(), state["params/coefficients"].astype(np.float32))


def test_no_steps_leave_the_coefficients_unchanged():
    """An update of no scalars counts as a zero delta."""
    served = method()
    state = served.fold(served.init({}), [update("a")], 0.1).state

    after = served.fold(state, [update("b", steps=0)], 0.1).state

    np.testing.assert_array_equal(after["params/coefficients"], state["params/coefficients"])


def test_probabilities_are_uniform_before_any_history():
    """Pro starts as plain FedKSeed."""
    served = method(sampling="pro")

    np.testing.assert_allclose(served.probabilities(served.init({})), np.full(K, 1 / K))


def test_probabilities_follow_the_published_formula():
    """Softmax of the min–max normalised mean |g|, each history beginning with one zero."""
    sent = update("a")
    histories = [[0.0] for _ in range(K)]
    for index, value in zip(
        sent.payload.arrays["index"], sent.payload.arrays["value"], strict=True
    ):
        histories[index].append(abs(float(value)))
    score = np.array([np.mean(each) for each in histories])
    weights = np.exp((score - score.min()) / (score.max() - score.min()))
    served = method(sampling="pro")

    got = served.probabilities(served.fold(served.init({}), [sent], 0.1).state)

    np.testing.assert_allclose(got, weights / weights.sum(), rtol=1e-6)
    assert got.max() / got.min() == pytest.approx(np.e)


@pytest.mark.parametrize(
    ("index", "value", "words"),
    [
        ([0], [np.nan], "not finite"),
        ([0], [np.inf], "not finite"),
        ([0], [1001.0], "max_scalar"),
        ([K], [1.0], f"K is {K}"),
        ([0, 1], [1.0], "one index"),
        ([0] * 6, [1.0] * 6, "asked for 5 steps"),
    ],
)
def test_check_refuses_broken_scalars(index, value, words):
    """Not finite, too large, an unknown seed, torn arrays, more steps than asked for."""
    broken = walk(np.array(index, np.uint32), np.array(value, np.float32))
    asked = Assignment(1, "a", "seeds", 5, 0, 50, 0.1, 8, 0)
    served = method()

    with pytest.raises(UpdateError, match=words):
        served.check(served.init({}), Update("a", 1, 9, 5, broken), asked)


ASKED = Assignment(1, "a", "seeds", 5, 0, 50, 0.1, 8, 0, pool=16)


def sent_along(index):
    """An update of ones along these seeds."""
    scalars = walk(np.array(index, np.uint32), np.ones(len(index), np.float32))
    return Update("a", 1, 9, 5, scalars)


def test_seeds_of_the_clients_own_choice_are_refused():
    """An attacker cannot look for the direction that harms most: the coordinator says which it tries."""
    served, along = method(), given(ASKED, KEY, K)
    served.check(served.init({}), sent_along(along[[0, 2, 4]]), ASKED)

    with pytest.raises(UpdateError, match="other seeds than round 1 gave it"):
        served.check(served.init({}), sent_along([along[0]] * 5), ASKED)


def unsaid(count):
    """An update of ones that leaves its seeds to its assignment."""
    return Update("a", 1, 9, 5, Package("scalars", {"value": np.ones(count, np.float32)}))


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_walk_along_the_seeds_that_were_given_need_not_say_them(steps):
    """The coordinator knows them: what it folds is what it folds of a client that says them."""
    form = walks(K, key=KEY, max_scalar=1e3)

    whole = form.completed(unsaid(steps), ASKED)

    assert whole.payload.arrays["index"].tolist() == given(ASKED, KEY, K)[:steps].tolist()
    method().check(method().init({}), unsaid(steps), ASKED)


def test_more_scalars_than_steps_are_refused_without_seeds_too():
    """Nothing says along which seeds they would be."""
    served = method()

    with pytest.raises(UpdateError, match="asked for"):
        served.check(served.init({}), unsaid(6), ASKED)


def test_drawn_seeds_are_said():
    """The coordinator does not know what a client has drawn."""
    served = method(sampling="pro")

    with pytest.raises(UpdateError, match="asked for index and value"):
        served.check(served.init({}), unsaid(3), ASKED)


def test_a_client_says_its_seeds_where_a_step_has_moved_nothing(tiny_config):
    """A gap in the order is not to be guessed."""
    half = scalars(config=tiny_config(f"seeds.num_seeds={K}"))
    along = given(ASKED, half.key, K)

    whole, torn = (
        half.package(None, TrainerResult((), Walk(each, np.ones(len(each), np.float32))), ASKED)
        for each in (along, along[[0, 2, 3]])
    )

    assert set(whole.arrays) == {"value"}
    assert set(torn.arrays) == {"index", "value"}


def test_draws_by_probabilities_must_be_of_the_rounds_pool():
    """The probabilities may have changed since an asynchronous client drew; the pool has not."""
    served, inside = method(sampling="pro"), pool(KEY, 1, K, 16)
    outside = np.setdiff1d(np.arange(K), inside)
    served.check(served.init({}), sent_along(inside[[3, 3, 1]]), ASKED)

    with pytest.raises(UpdateError, match="other seeds"):
        served.check(served.init({}), sent_along([inside[3], outside[0]]), ASKED)


def test_another_methods_payload_is_refused():
    """A LoRA delta is no set of scalars."""
    served = method()

    with pytest.raises(UpdateError, match="asked for scalars"):
        served.check(served.init({}), Update("a", 1, 9, 5, sent_delta({})), ASKED)


def test_adam_is_refused(tiny_config):
    """An optimizer that is not linear cannot act on coefficients."""
    with pytest.raises(ConfigError, match="linear"):
        tiny_config("method=seeds", "server_opt=adam")


def test_an_explosion_undoes_the_last_fold():
    """A loss of twice the best brings the coefficients before the fold back and halves the rate."""
    served = method(optimizers.momentum(), sampling="pro", guard=1.5)
    first = served.fold(served.init({}), [update("a", loss=1.0)], 0.1).state
    second = served.fold(first, [update("b", loss=0.9)], 0.1).state

    folded = served.fold(second, [update("c", loss=1.8)], 0.1)

    assert folded.undone
    assert learning_rate_scale(folded.state) == 0.5
    for name in ("params/coefficients", "opt/0/momentum/coefficients", "history/sum"):
        np.testing.assert_array_equal(folded.state[name], first[name])


def test_training_goes_on_after_an_undo():
    """The next calm round is folded, and the halved rate stays, through a file too."""
    served = method(guard=1.5)
    state = served.fold(served.init({}), [update("a", loss=1.0)], 0.1).state
    state = served.fold(state, [update("b", loss=np.nan)], 0.1).state

    folded = served.fold(from_bytes(to_bytes(state)), [update("c", loss=1.1)], 0.1)

    assert not folded.undone
    assert folded.report["learning_rate_scale"] == 0.5
    assert folded.state["params/coefficients"].any()
