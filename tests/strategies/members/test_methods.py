"""Every method that installed members make: an aggregation, an optimizer or a codec in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members.installed import cases
from tests.strategies.served import ALONG, Method, lora, seeds, walk
from tests.strategies.served import sent as sent_delta

from antiphon.core import registry
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.types import Package, Params, Update
from antiphon.strategies.compression.downlink import code, packed_changes, packed_downlink
from antiphon.strategies.fold import params_of
from antiphon.strategies.forms.scalars import walks

A, B = "m.lora_A.weight", "m.lora_B.weight"
R, K, RATE = 4, 32, 0.01
SHAPES = {A: (R, 16), B: (24, R)}
CLIENTS = "abcd"


@dataclass(frozen=True)
class Made:
    """A method and a round of updates for it; quiet: updates of clients that learnt nothing."""

    method: Method
    updates: tuple[Update, ...]
    quiet: tuple[Update, ...]

    def begin(self) -> Mapping[str, Any]:
        """Return the state before the first round."""
        return self.method.init(tensors(0))


def tensors(seed: int, size: float = 1.0) -> Params:
    rng = np.random.default_rng(seed)
    return {k: (size * rng.normal(size=s)).astype(np.float32) for k, s in SHAPES.items()}


def sent(client: str, payload: Package, loss: float) -> Update:
    return Update(client, 1, 10 + ord(client), 5, payload, {"loss": loss}, ord(client) % 2, RATE)


def delta(i: int, size: float = 0.1) -> Package:
    return sent_delta(tensors(i + 1, size))


def scalars(i: int, size: float = 1.0) -> Package:
    rng = np.random.default_rng(i)
    value = (size * rng.normal(size=5)).astype(np.float32)
    return walk(rng.integers(0, K, 5).astype(np.uint32), value)


def made(method: Method, *payloads: Callable[..., Package]) -> Made:
    """Return a method with updates of four clients, who send these payloads in turn."""
    turns = [(client, payloads[i % len(payloads)]) for i, client in enumerate(CLIENTS)]
    return Made(
        method,
        tuple(sent(client, payload(i), 1.0 + i / 9) for i, (client, payload) in enumerate(turns)),
        tuple(sent(client, payload(i, 0.0), 1.0) for i, (client, payload) in enumerate(turns)),
    )


def plain(optimizer: Any = None, aggregation: Any = None, **others: Any) -> Method:
    return lora(
        aggregation=aggregation or registry.build("aggregation", "product", {}),
        optimizer=optimizer or registry.build("server_opt", "sgd", {}),
        lora_alpha=8,
        r=R,
        **others,
    )


def with_aggregation(aggregation: Any) -> Made:
    momentum = registry.build("server_opt", "momentum", {})
    return made(plain(momentum, aggregation), delta)


def with_optimizer(optimizer: Any) -> Made:
    return made(plain(optimizer), delta)


def with_both_kinds_of_clients(optimizer: Any) -> Made:
    walking = walks(K, key=ALONG.key, max_scalar=100.0)
    return made(plain(optimizer, walking=walking), delta, scalars)


def with_seeds(optimizer: Any) -> Made:
    """The method seeds with all it may keep; sgd takes the place of what may not act on seeds."""
    linear = optimizer if optimizer.linear else registry.build("server_opt", "sgd", {})
    return made(
        seeds(num_seeds=K, key=5, optimizer=linear, sampling="pro", guard=1.5),
        scalars,
    )


def with_downlink(codec: Any) -> Made:
    return made(plain(last=[packed_downlink(codec, 7, feedback=True)]), delta)


def with_changes(codec: Any) -> Made:
    return made(plain(last=[packed_changes(codec, 7, params_of, feedback=True)]), delta)


def methods(kind: str, *makers: Callable[[Any], Made]) -> list[Any]:
    """Return each maker with each installed member of a kind."""
    pairs = [(make, case) for make in makers for case in cases(kind)]
    return [pytest.param(pair, id=f"{pair[1]} {pair[0].__name__}") for pair in pairs]


DIRECT = [
    *methods("aggregation", with_aggregation),
    *methods("server_opt", with_optimizer, with_both_kinds_of_clients, with_seeds),
]
PACKED = methods("codec", with_downlink, with_changes)


@pytest.fixture(scope="module", params=[*DIRECT, *PACKED])
def served(request):
    make, case = request.param
    return make(case.build())


@pytest.fixture(scope="module", params=DIRECT)
def direct(request):
    make, case = request.param
    return make(case.build())


def folded(served, state, updates, rounds=2):
    for _ in range(rounds):
        state = served.method.fold(state, iter(updates), RATE).state
    return state


@pytest.mark.slow
@settings(max_examples=4)
@given(order=st.permutations(range(len(CLIENTS))))
def test_updates_in_any_order_give_the_same_bits(served, order):
    """Two rounds: arrival order leaves no trace in the state or the report."""
    arrived = [served.updates[i] for i in order]

    got, expected = (folded(served, served.begin(), each) for each in (arrived, served.updates))

    assert to_bytes(got) == to_bytes(expected)
    reports = [served.method.fold(got, each, RATE).report for each in (arrived, served.updates)]
    assert reports[0] == reports[1]


def test_a_state_read_back_goes_on_the_same(served):
    """Crash and resume: the state from its file folds to the same bits, round after round."""
    state = folded(served, served.begin(), served.updates)

    direct = folded(served, state, served.updates)
    resumed = folded(served, from_bytes(to_bytes(state)), served.updates)

    assert to_bytes(resumed) == to_bytes(direct)


def test_a_fold_changes_nothing_that_came_in(served):
    """The state before a round is kept: a round that is undone begins from it again."""
    state = folded(served, served.begin(), served.updates, 1)
    before = to_bytes(state)

    first, second = (served.method.fold(state, served.updates, RATE).state for _ in range(2))

    assert to_bytes(state) == before
    assert to_bytes(first) == to_bytes(second)


def test_a_quiet_round_changes_nothing(direct):
    """Nobody learnt anything in the first round: the model is as it was, bit for bit."""
    before = direct.begin()

    after = direct.method.fold(before, direct.quiet, RATE).state

    for name in [name for name in before if name.startswith("params/")]:
        np.testing.assert_array_equal(after[name], before[name])


def test_everything_in_a_state_can_be_written(served):
    """Flat names, finite numbers of the same shapes and dtypes in every round."""
    first = folded(served, served.begin(), served.updates, 1)

    second = folded(served, first, served.updates, 1)

    for state in (first, from_bytes(to_bytes(second))):
        assert {k: v.dtype for k, v in state.items()} == {k: v.dtype for k, v in first.items()}
        assert all(np.isfinite(value).all() for value in state.values())
    assert {k for k, v in second.items() if v.shape != first[k].shape} <= {"downlink/code"}


@pytest.fixture(scope="module", params=cases("codec"), ids=str)
def codec(request):
    return request.param.build()


def test_clients_receive_the_very_model_that_is_folded_onto(codec):
    """What a client decodes is the state's adapter, bit for bit, before and after a fold."""
    served = with_downlink(codec)

    for state in (served.begin(), folded(served, served.begin(), served.updates)):
        received, held = codec.decode(code(state), SHAPES), served.method.download(state, R)

        assert all(np.array_equal(received[name], held[name]) for name in SHAPES)


def test_a_quiet_round_takes_nothing_from_what_was_left_out(codec):
    """A codec's residual and what clients received stay, together, what they were."""
    served = with_downlink(codec)
    before = served.begin()

    after = served.method.fold(before, served.quiet, RATE).state

    for name in SHAPES:
        whole = [
            state[f"params/{name}"] + state[f"downlink/residual/{name}"]
            for state in (before, after)
        ]
        np.testing.assert_allclose(whole[1], whole[0], atol=1e-5)


def test_clients_add_a_change_to_the_very_model_before_it(codec):
    """Round after round, what a client has and what it decodes make the state's adapter, bit for bit."""
    served = with_changes(codec)
    before = served.begin()

    for _ in range(3):
        state = folded(served, before, served.updates, 1)
        change, held = codec.decode(code(state), SHAPES), served.method.download(before, R)

        assert all(
            np.array_equal(held[name] + change[name], state[f"params/{name}"]) for name in SHAPES
        )
        before = state
