"""What an adapter's rank leaves out of a mean is carried on, and nothing of it is lost."""

import numpy as np
import pytest
from tests.strategies.served import lora
from tests.strategies.served import sent as sent_delta

from antiphon.core.errors import ConfigError
from antiphon.core.types import Update
from antiphon.strategies.server_opt.optimizers import sgd
from antiphon.strategies.stages.carry import carry
from antiphon.strategies.state import under

A, B = "m.lora_A.weight", "m.lora_B.weight"
SCALE = 2.0  # alpha 8, rank 4


def adapter(seed, size=1.0):
    """Random factors of one module."""
    rng = np.random.default_rng(seed)
    shapes = {A: (4, 16), B: (24, 4)}
    return {name: (size * rng.normal(size=s)).astype(np.float32) for name, s in shapes.items()}


START = adapter(0)


def method(*between):
    """Three clients' products, folded by the truncated decomposition."""
    return lora(optimizer=sgd(), between=between)


def product(factors):
    """B·A in float64; zero where there is nothing."""
    return factors[B].astype(float) @ factors[A] if factors else np.zeros((24, 16))


def updates():
    """What three clients have learnt, in directions of their own."""
    return [Update(f"c{i}", 1, 10, 5, sent_delta(adapter(i + 1, 0.3))) for i in range(3)]


def meant(start):
    """The mean of the clients' products, dense."""
    locals_ = [
        {name: start[name] + each.payload.arrays[name] for name in start} for each in updates()
    ]
    return SCALE * np.mean([product(each) for each in locals_], axis=0)


def test_adapter_and_what_is_carried_on_are_the_whole_mean():
    """Three clients of rank 4 have a mean of rank 12: with room for 8 more nothing is missing."""
    served = method(carry(rank=8))

    state = served.fold(served.init(START), updates(), 0.0).state

    got = SCALE * product(under("params", state)) + product(under("carry", state))
    np.testing.assert_allclose(got, meant(START), atol=1e-4)


def test_what_was_carried_on_is_in_the_next_sum():
    """Round after round the sum of both is what all rounds together have meant."""
    served = method(carry(rank=12))
    first = served.fold(served.init(START), updates(), 0.0).state

    second = served.fold(first, updates(), 0.0).state

    middle = under("params", first)
    wanted = meant(middle) + product(under("carry", first))
    got = SCALE * product(under("params", second)) + product(under("carry", second))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_without_it_the_rest_is_lost():
    """The same fold, plain: the mean does not fit the rank."""
    served = method()

    state = served.fold(served.init(START), updates(), 0.0).state

    assert np.linalg.norm(SCALE * product(under("params", state)) - meant(START)) > 1.0


def test_its_bytes_are_counted():
    """The journal says how much waits, and what it takes."""
    served = method(carry(rank=8))

    report = served.fold(served.init(START), updates(), 0.0).report

    assert report["carried_bytes"] == 4 * 8 * (24 + 16)
    assert report["carried_norm"] > 0


def test_a_rule_that_says_nothing_of_the_rest_is_refused(tiny_config):
    """A mean of factors leaves cross terms, which are no low-rank rest."""
    with pytest.raises(ConfigError, match="carries on"):
        tiny_config("aggregation=factors", "stages=[carry]")


def test_a_stage_has_one_place(tiny_config):
    """Two of one name would overwrite each other's memory."""
    with pytest.raises(ConfigError, match="twice"):
        tiny_config("stages=[carry, {kind: carry, rank: 2}]")
