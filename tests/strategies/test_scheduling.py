"""Schedulers: who takes part."""

import numpy as np
import pytest

from antiphon.core.errors import ConfigError
from antiphon.strategies.scheduling.everyone import everyone
from antiphon.strategies.scheduling.uniform import uniform

CLIENTS = ["c", "a", "d", "b", "e"]


def rng() -> np.random.Generator:
    """A fresh generator."""
    return np.random.Generator(np.random.Philox(7))


def test_everyone_takes_all_clients():
    """All of them, in name order."""
    assert everyone().choose(CLIENTS, 5, rng()) == ("a", "b", "c", "d", "e")


def test_everyone_refuses_a_smaller_cohort():
    """A size that would leave somebody out is a contradiction in the config."""
    with pytest.raises(ConfigError, match="random"):
        everyone().choose(CLIENTS, 3, rng())


def test_uniform_depends_on_the_rng_and_not_on_the_order():
    """The same generator gives the same cohort, however the clients are listed."""
    one = uniform().choose(CLIENTS, 3, rng())

    other = uniform().choose(sorted(CLIENTS), 3, rng())

    assert one == other
    assert len(set(one)) == 3


def test_uniform_takes_all_where_there_are_too_few():
    """A cohort larger than the fleet is the fleet."""
    assert uniform().choose(CLIENTS, 9, rng()) == ("a", "b", "c", "d", "e")


def test_uniform_gives_equal_chances():
    """Over 3,000 draws of 2 of 5, each client's count lies within 5 σ of 1,200."""
    random = rng()

    drawn = [name for _ in range(3000) for name in uniform().choose(CLIENTS, 2, random)]

    counts = np.array([drawn.count(name) for name in CLIENTS])
    assert (np.abs(counts - 1200) < 5 * np.sqrt(3000 * 0.4 * 0.6)).all()
