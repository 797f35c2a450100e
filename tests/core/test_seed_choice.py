"""Which seeds a client tries follows from its assignment, and from nothing that the client says."""

from dataclasses import replace

import numpy as np
import pytest

from antiphon.core.seed_choice import drawn, given, in_turn, pool
from antiphon.core.types import Assignment

K, KEY = 256, 2024
ASKED = Assignment(3, "north", "seeds", 40, 0, 90, 1e-3, 8, seed=2**62 + 5, pool=64)


def test_a_client_repeats_no_seed_before_all_had_their_turn():
    """Of a pool of 64, 40 steps try 40 seeds, and 150 steps each seed twice or three times."""
    short, long = given(ASKED, KEY, K), given(replace(ASKED, steps=150), KEY, K)

    assert len(set(short.tolist())) == 40
    assert set(np.unique(long, return_counts=True)[1].tolist()) == {2, 3}


def test_clients_of_a_round_share_its_pool():
    """Another client tries the same 64 candidates in another order."""
    whole = replace(ASKED, steps=64)
    one, other = (given(replace(whole, seed=seed), KEY, K) for seed in (1, 2))

    assert sorted(one.tolist()) == sorted(other.tolist()) == pool(KEY, 3, K, 64).tolist()
    assert one.tolist() != other.tolist()


def test_another_round_has_another_pool():
    """Over the rounds the model moves along all K."""
    assert pool(KEY, 3, K, 64).tolist() != pool(KEY, 4, K, 64).tolist()


@pytest.mark.parametrize("size", [0, K, K + 1])
def test_a_pool_of_no_size_or_of_a_larger_one_is_all_candidates(size):
    """0 is what an assignment says where nobody is to be compared."""
    assert pool(KEY, 3, K, size).tolist() == list(range(K))


def test_no_steps_try_nothing():
    """An assignment of no steps has no seeds."""
    assert len(given(replace(ASKED, steps=0), KEY, K)) == 0


def test_draws_by_probabilities_stay_in_the_pool():
    """Of the round's candidates, only those with a chance are drawn."""
    candidates = pool(KEY, 3, K, 64)
    chances = np.zeros(K)
    chances[candidates[:2]] = 0.25, 0.75

    taken = drawn(ASKED, KEY, K, chances)

    assert set(taken.tolist()) <= set(candidates[:2].tolist())


def test_steps_may_be_left_out_but_not_moved():
    """A step without a finite loss is not sent; another order, or one seed twice, is a choice."""
    expected = given(ASKED, KEY, K)

    assert in_turn(expected[[0, 5, 9]], expected)
    assert not in_turn(expected[[5, 0]], expected)
    assert not in_turn(expected[[5, 5]], expected)
