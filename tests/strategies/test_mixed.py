"""Rounds in which some clients send deltas and others scalars."""

from dataclasses import replace

import numpy as np
import pytest
from tests.strategies.served import ALONG, lora, walk
from tests.strategies.served import sent as sent_delta

from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.errors import UpdateError
from antiphon.core.seed_choice import given
from antiphon.core.types import Assignment, Update
from antiphon.strategies.aggregation.product import product
from antiphon.strategies.forms.scalars import walks
from antiphon.strategies.seed_space import moved
from antiphon.strategies.server_opt.optimizers import sgd

A, B = "m.lora_A.weight", "m.lora_B.weight"
RATE = 0.01
WALKS = walks(32, key=ALONG.key, max_scalar=100.0)
LORA = lora(aggregation=product(), optimizer=sgd(), max_norm=1e3)
MIXED = lora(aggregation=product(), optimizer=sgd(), max_norm=1e3, walking=WALKS)


def tensors(seed, size=1.0):
    """Random factors of one module."""
    rng = np.random.default_rng(seed)
    shapes = {A: (4, 16), B: (24, 4)}
    return {k: (size * rng.normal(size=s)).astype(np.float32) for k, s in shapes.items()}


def steps(index=(3, 5, 3), value=(1.0, -2.0, 0.5)):
    """Three steps along two directions."""
    return walk(np.array(index, np.uint32), np.array(value, np.float32))


def assigned(method):
    """What a client was asked to do."""
    return Assignment(1, "north", method, 3, 0, 9, RATE, 4, 0)


def test_scalars_count_as_the_delta_they_stand_for():
    """A round of one delta and one set of scalars folds as if both had sent deltas."""
    state = MIXED.init(tensors(0))
    delta = Update("north", 1, 30, 3, sent_delta(tensors(1, 0.1)))
    scalars = Update("south", 1, 10, 3, steps())
    start = LORA.download(state, 4)
    sums = SeedCoefficients(
        32, np.array([3, 5], np.uint32), np.array([-1.5 * RATE, 2.0 * RATE], np.float32)
    )
    rebuilt = {k: v - start[k] for k, v in moved(start, sums, ALONG).items()}

    got = MIXED.fold(state, [scalars, delta], RATE).state
    expected = LORA.fold(state, [delta, replace(scalars, payload=sent_delta(rebuilt))], RATE).state

    for name in got:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("payload", "method", "reason"),
    [
        (steps(), "lora", "asked for delta"),
        (sent_delta(tensors(1)), "seeds", "asked for scalars"),
        (steps(index=(99, 5, 3)), "seeds", "K is 32"),
        (steps(value=(np.nan, 1.0, 1.0)), "seeds", "not finite"),
        (steps(value=(1e9, 1.0, 1.0)), "seeds", "max_scalar"),
        (steps(index=(1, 2, 3, 4), value=(1, 1, 1, 1)), "seeds", "3 steps"),
        (steps(index=(3, 3, 3)), "seeds", "other seeds than round 1 gave it"),
    ],
)
def test_what_was_not_asked_for_is_refused(payload, method, reason):
    """Each half is checked as strictly as in a run of its own."""
    state = MIXED.init(tensors(0))

    with pytest.raises(UpdateError, match=reason):
        MIXED.check(state, Update("north", 1, 10, 3, payload), assigned(method))


def test_a_smaller_rank_is_of_deltas_alone():
    """A client of smaller rank that is given scalars, by its device say, walks in the whole adapter."""
    ranked = lora(
        aggregation=product(),
        optimizer=sgd(),
        client_ranks={"south": 2},
        max_norm=1e3,
        walking=WALKS,
    )
    state = ranked.init(tensors(0))
    asked = replace(assigned("seeds"), client="south")
    scalars = Update("south", 1, 10, 3, steps(index=given(asked, ALONG.key, 32)[:3]))

    ranked.check(state, scalars, asked)
    got = ranked.fold(state, [scalars], RATE).state

    expected = MIXED.fold(MIXED.init(tensors(0)), [scalars], RATE).state
    for name in got:
        np.testing.assert_array_equal(got[name], expected[name])
