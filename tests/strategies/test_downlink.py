"""The global adapter as a codec leaves it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.served import Method, lora
from tests.strategies.served import sent as sent_delta

from antiphon.core import registry
from antiphon.core.errors import UpdateError
from antiphon.core.tensors import to_content
from antiphon.core.types import Update
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.compression.downlink import (
    added,
    code,
    packed_changes,
    packed_downlink,
    since,
)
from antiphon.strategies.fold import params_of
from antiphon.strategies.guard import guard, undo
from antiphon.strategies.server_opt.optimizers import sgd

A, B = "m.lora_A.weight", "m.lora_B.weight"
SHAPES = {A: (4, 160), B: (240, 4)}


def tensors(seed, size=1.0):
    """Random factors of one module."""
    rng = np.random.default_rng(seed)
    return {k: (size * rng.normal(size=s)).astype(np.float32) for k, s in SHAPES.items()}


def method(kind, *, feedback):
    """Plain means of factors behind a codec."""
    codec = registry.build("codec", kind, {})
    last = [packed_downlink(codec, 7, feedback=feedback)]
    return lora(aggregation=factors(), optimizer=sgd(), last=last)


def test_small_moves_are_not_lost():
    """Moves far below a codec's resolution add up through the feedback, and are lost without it."""
    start, move = tensors(0), {k: np.full(s, 1e-4, np.float32) for k, s in SHAPES.items()}
    moved = {}
    for feedback in (True, False):
        served = method("bf16", feedback=feedback)
        state = served.init(start)
        for number in range(1, 101):
            update = Update("north", number, 10, 1, sent_delta(move))
            state = served.fold(state, [update], 0.0).state
        got = served.download(state, 4)
        moved[feedback] = np.mean([np.mean(got[k] - start[k]) for k in SHAPES])

    assert moved[True] == pytest.approx(0.01, rel=0.05)
    assert moved[False] < 0.8 * moved[True]


def test_rounding_at_random_does_not_wander():
    """Hundred rounds in which nobody moves leave an unbiased codec's model where one round left it."""
    served, still = method("int8", feedback=True), {k: np.zeros(s, "f4") for k, s in SHAPES.items()}
    start, state = tensors(0), served.init(tensors(0))
    first = max(np.abs(state[f"params/{k}"] - start[k]).max() for k in SHAPES)

    for number in range(1, 101):
        state = served.fold(state, [Update("north", number, 10, 1, sent_delta(still))], 0.0).state

    assert max(np.abs(state[f"params/{k}"] - start[k]).max() for k in SHAPES) < 3 * first


def by_changes(kind, *, feedback=True, **arguments):
    """The same, where the changes are packed."""
    codec = registry.build("codec", kind, arguments)
    last = [packed_changes(codec, 7, params_of, feedback=feedback)]
    return codec, lora(aggregation=factors(), optimizer=sgd(), last=last)


def folded(served, state, move):
    """The state after a round in which one client has moved."""
    return served.fold(state, [Update("north", 1, 10, 1, sent_delta(move))], 0.0).state


def test_the_first_point_is_as_it_was():
    """Before the first round nothing is packed, and there is no model before it."""
    _, served = by_changes("int8")

    state = served.init(tensors(0))

    assert all(np.array_equal(state[f"params/{k}"], each) for k, each in tensors(0).items())
    assert since(state) == ""


def test_a_round_ends_where_its_change_leads():
    """What is unpacked of the change, added to the point before, is the point: bit for bit."""
    codec, served = by_changes("ecdq", bits=1.0)
    before = served.init(tensors(0))

    state = folded(served, before, tensors(1, 1e-2))

    change = codec.decode(code(state), SHAPES)
    assert all(
        np.array_equal(state[f"params/{k}"], before[f"params/{k}"] + change[k]) for k in SHAPES
    )
    assert any(change[k].any() for k in SHAPES)


def test_a_change_names_the_file_that_it_is_added_to():
    """By the hash of the model's file before the round."""
    _, served = by_changes("int8")
    first = folded(served, served.init(tensors(0)), tensors(1))

    second = folded(served, first, tensors(2))

    assert since(second) == to_content(params_of(first)).sha256
    assert since(first) == to_content(tensors(0)).sha256


@settings(max_examples=20, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=6),
    kind=st.sampled_from(["int8", "bf16", "sign", "topk", "ecdq"]),
    size=st.floats(1e-3, 1.0),
)
def test_what_was_left_out_and_the_point_are_the_truth(seeds, kind, size):
    """Over any rounds: the point and the residual are the first point and all moves."""
    _, served = by_changes(kind)
    state = served.init(tensors(0))

    for seed in seeds:
        state = folded(served, state, tensors(seed, size))

    for k in SHAPES:
        wanted = tensors(0)[k] + sum(tensors(seed, size)[k] for seed in seeds)
        got = state[f"params/{k}"] + state[f"downlink/residual/{k}"]
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_without_feedback_nothing_is_kept():
    """The state has no residual."""
    _, served = by_changes("topk", feedback=False)

    state = folded(served, served.init(tensors(0)), tensors(1))

    assert not [name for name in state if "residual" in name]


@pytest.mark.parametrize(
    "change",
    [{A: np.zeros(SHAPES[A], "f4")}, {A: np.zeros((1, 2), "f4"), B: np.zeros(SHAPES[B], "f4")}],
)
def test_a_change_of_other_tensors_is_refused(change):
    """A name that is missing, another shape: never broadcast."""
    with pytest.raises(UpdateError):
        added(tensors(0), change)


def test_a_sum_that_is_not_finite_is_refused():
    """Two large numbers, each of which a file can hold."""
    large = {k: np.full(s, 3e38, np.float32) for k, s in SHAPES.items()}

    with pytest.raises(UpdateError, match="NaN or Inf"):
        added(large, large)


def test_a_round_that_is_undone_is_named_as_before_it():
    """The state goes back to the point, the change and the residual before the fold."""
    _, served = by_changes("ecdq", bits=1.0)
    guarded = replace(served.served.chain, stages=(guard(1.5), *served.served.chain.stages))
    served = Method(replace(served.served, chain=guarded))
    first = folded(served, served.init(tensors(0)), tensors(1))
    second = folded(served, first, tensors(2))

    undone = undo(second)

    assert since(undone) == since(first) != since(second)
    assert code(undone) == code(first)
    assert all(np.array_equal(each, undone[k]) for k, each in first.items() if "guard" not in k)
