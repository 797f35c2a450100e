"""The global adapter as a codec leaves it."""

import numpy as np
import pytest
from tests.strategies.served import lora
from tests.strategies.served import sent as sent_delta

from antiphon.core import registry
from antiphon.core.types import Update
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.compression.downlink import packed_downlink
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
