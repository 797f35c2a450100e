"""The server's half of method lora: folds, downloads and checks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.served import lora, walk
from tests.strategies.served import sent as sent_delta

from antiphon.core.errors import UpdateError
from antiphon.core.tensors import LazyTensors, to_bytes, write_tensors
from antiphon.core.types import Assignment, Update
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.aggregation.product import product
from antiphon.strategies.server_opt import optimizers

A, B = "m.lora_A.weight", "m.lora_B.weight"
RANKS = {"a": 4, "b": 2, "c": 4, "d": 1}


def tensors(seed, r=4, size=1.0):
    """Random factors of one module."""
    rng = np.random.default_rng(seed)
    a, b = size * rng.normal(size=(r, 16)), size * rng.normal(size=(24, r))
    return {A: a.astype(np.float32), B: b.astype(np.float32)}


def method(optimizer=None, **others):
    """The method with mixed ranks."""
    settings = {"aggregation": product(), "lora_alpha": 8, "r": 4, "client_ranks": RANKS} | others
    return lora(optimizer=optimizer or optimizers.sgd(), **settings)


def updates():
    """One update for each client."""
    return [
        Update(name, 1, 10 + i, 5, sent_delta(tensors(i + 1, r, 0.2)))
        for i, (name, r) in enumerate(RANKS.items())
    ]


def assignment(client):
    """What a client was asked to do."""
    return Assignment(1, client, "lora", 5, 0, 50, 1e-3, RANKS[client], 0)


@settings(max_examples=10)
@given(order=st.permutations(range(4)))
def test_the_same_updates_in_any_order_give_the_same_bits(order):
    """Two rounds with momentum, mixed ranks: arrival order leaves no trace in the state."""
    served = method(optimizers.nesterov())
    arrived = [updates()[i] for i in order]
    expected = got = served.init(tensors(0))

    for _ in range(2):
        expected = served.fold(expected, updates(), 0.0).state
        got = served.fold(got, iter(arrived), 0.0).state

    assert to_bytes(got) == to_bytes(expected)


def test_sgd_with_rate_one_lands_on_the_aggregate():
    """FedAvg of one client: the global product becomes the client's."""
    served, start, delta = method(client_ranks={}), tensors(0), tensors(1, size=0.2)
    local = {name: start[name] + delta[name] for name in start}

    folded = served.fold(served.init(start), [Update("a", 1, 9, 5, sent_delta(delta))], 0.0)

    after = served.download(folded.state, 4)
    np.testing.assert_allclose(after[B] @ after[A], local[B] @ local[A], atol=1e-4)


def test_fold_reports_error_and_norm():
    """The report holds the aggregation error and how far the factors moved."""
    served = method()
    before = served.init(tensors(0))

    folded = served.fold(before, updates(), 0.0)

    moved = [folded.state[name] - before[name] for name in before]
    norm = np.sqrt(sum((each.astype(np.float64) ** 2).sum() for each in moved))
    assert folded.report["update_norm"] == pytest.approx(norm)
    assert 0 < folded.report["aggregation_error"] < 0.5


def test_lazy_updates_fold_like_those_in_memory(tmp_path):
    """Deltas read from files, tensor by tensor, give the same bits."""
    served, state = method(), method().init(tensors(0))
    lazy = []
    for each in updates():
        write_tensors(tmp_path / each.client, each.payload.arrays)
        delta = LazyTensors(tmp_path / each.client)
        lazy.append(Update(each.client, 1, each.examples, 5, sent_delta(delta)))

    got, expected = (served.fold(state, each, 0.0).state for each in (lazy, updates()))

    assert to_bytes(got) == to_bytes(expected)


def test_check_accepts_what_was_asked_for():
    """Each client's delta at its own rank passes."""
    served = method()
    state = served.init(tensors(0))

    for each in updates():
        served.check(state, each, assignment(each.client))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (sent_delta(tensors(1, r=2)), "asked for"),
        (sent_delta({A: tensors(1)[A]}), "missing"),
        (sent_delta(tensors(1) | {A: np.full((4, 16), np.nan, np.float32)}), "NaN"),
        (sent_delta(tensors(1, size=1e6)), "norm"),
        (walk(np.zeros(1, np.uint32), np.zeros(1, np.float32)), "scalars"),
    ],
)
def test_check_refuses_anything_else(payload, words):
    """Wrong rank, missing tensors, NaN, a huge norm, another method's payload."""
    served = method(max_norm=1e3)

    with pytest.raises(UpdateError, match=words):
        served.check(served.init(tensors(0)), Update("a", 1, 9, 5, payload), assignment("a"))


def test_factors_serves_equal_ranks():
    """FedIT through the same method."""
    served = method(aggregation=factors(), client_ranks={})
    equal = [Update(n, 1, 5, 5, sent_delta(tensors(i, size=0.1))) for i, n in enumerate("ab")]

    folded = served.fold(served.init(tensors(0)), equal, 0.0)

    assert folded.report["aggregation_error"] > 0
