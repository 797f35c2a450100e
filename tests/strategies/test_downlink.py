"""The global adapter as a codec leaves it."""

import numpy as np
import pytest

from antiphon.core import registry
from antiphon.core.types import LoraUpdate, Update
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.compression.downlink import code, packed_downlink
from antiphon.strategies.lora import lora
from antiphon.strategies.server_opt.optimizers import sgd

A, B = "m.lora_A.weight", "m.lora_B.weight"
SHAPES = {A: (4, 160), B: (240, 4)}


def tensors(seed, size=1.0):
    """Random factors of one module."""
    rng = np.random.default_rng(seed)
    return {k: (size * rng.normal(size=s)).astype(np.float32) for k, s in SHAPES.items()}


def method(kind, *, feedback=True, **arguments):
    """Plain means of factors behind a codec, and the codec."""
    codec = registry.build("codec", kind, arguments)
    plain = lora(aggregation=factors(), optimizer=sgd(), lora_alpha=8, r=4)
    return packed_downlink(plain, codec, 7, feedback=feedback), codec


@pytest.mark.parametrize("kind", ["bf16", "int8", "ecdq"])
def test_clients_receive_the_very_model_that_is_folded_onto(kind):
    """What a client decodes is the state's adapter, bit for bit, before and after a fold."""
    served, codec = method(kind)
    state = served.init(tensors(0))

    for _ in range(2):
        received = codec.decode(code(state), SHAPES)

        assert all(np.array_equal(received[k], served.download(state, 4)[k]) for k in SHAPES)
        update = Update("north", 1, 10, 1, LoraUpdate(tensors(1, 0.1)))
        state = served.fold(state, [update], 0.0).state


def test_small_moves_are_not_lost():
    """Moves far below a codec's resolution add up through the feedback, and are lost without it."""
    start, move = tensors(0), {k: np.full(s, 1e-4, np.float32) for k, s in SHAPES.items()}
    moved = {}
    for feedback in (True, False):
        served, _ = method("bf16", feedback=feedback)
        state = served.init(start)
        for number in range(1, 101):
            update = Update("north", number, 10, 1, LoraUpdate(move))
            state = served.fold(state, [update], 0.0).state
        got = served.download(state, 4)
        moved[feedback] = np.mean([np.mean(got[k] - start[k]) for k in SHAPES])

    assert moved[True] == pytest.approx(0.01, rel=0.05)
    assert moved[False] < 0.8 * moved[True]


def test_a_fold_repeats_itself():
    """The rounding follows from the seed and the number of folds."""
    served, _ = method("int8")
    state = served.init(tensors(0))
    update = Update("north", 1, 10, 1, LoraUpdate(tensors(1, 0.1)))

    one, other = (served.fold(state, [update], 0.0).state for _ in range(2))

    assert code(one) == code(other)
