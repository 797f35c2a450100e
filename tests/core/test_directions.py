"""The random directions: addressing, moments and independence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core import directions, golden

KEY = directions.run_key(1)
MANY = 1 << 20
KINDS = {"rademacher": directions.rademacher, "gaussian": directions.gaussian}


@pytest.fixture(params=KINDS)
def draw(request):
    return KINDS[request.param]


def test_golden_vectors():
    """numpy draws the directions that every machine of a federation must draw."""
    golden.check(golden.NumpyDraws(), "numpy")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5000), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_random_access(start, count, seed):
    """A slice of a direction is the same whether drawn alone or with all before it."""
    for draw in KINDS.values():
        whole = draw(KEY, seed, "w", 0, start + count)

        assert (draw(KEY, seed, "w", start, count) == whole[start:]).all()


def test_mean_and_variance(draw):
    """Elements have mean 0 and variance 1 (five standard errors over 2^20 draws)."""
    z = draw(KEY, 3, "w", 0, MANY).astype(np.float64)

    assert abs(z.mean()) < 5 / MANY**0.5
    assert abs((z * z).mean() - 1) < 5 * (2 / MANY) ** 0.5


@pytest.mark.parametrize(
    "other", [(KEY, 4, "w"), (KEY, 3, "v"), (directions.run_key(2), 3, "w")], ids=str
)
def test_streams_are_uncorrelated(draw, other):
    """Another seed, another tensor and another run have nothing in common with this stream."""
    here = draw(KEY, 3, "w", 0, MANY)
    there = draw(*other, 0, MANY)

    assert abs(float(np.mean(here * there, dtype=np.float64))) < 5 / MANY**0.5


def test_neighbours_are_uncorrelated(draw):
    """An element says nothing about those 1, 8, 32 and 128 places further on."""
    z = draw(KEY, 3, "w", 0, MANY)

    for lag in (1, 8, 32, 128):
        assert abs(float(np.mean(z[:-lag] * z[lag:], dtype=np.float64))) < 5 / MANY**0.5


def test_every_bit_is_balanced():
    """Each of the 128 bits of a block is one half of the time (five standard errors)."""
    words = directions.words(KEY, 3, "w", 0, MANY // 128)
    bits = np.unpackbits(words.view(np.uint8).reshape(len(words), 16), axis=1)

    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / len(words) ** 0.5


def test_low_rank_directions_have_unit_variance():
    """z = u vᵀ/√r has mean 0 and variance 1 over seeds, at every element."""
    seeds = np.arange(4000)

    u, v = directions.low_rank(KEY, seeds, "w", (6, 5), 3)
    z = np.einsum("smr,snr->smn", u, v) / 3**0.5

    assert np.abs(z.mean(axis=0)).max() < 5 / len(seeds) ** 0.5
    assert np.abs((z**2).mean(axis=0) - 1).max() < 5 * 2 / len(seeds) ** 0.5


def test_gaussian_quantiles_match_the_normal_distribution():
    """The share of draws below −2, −1, 0, 1, 2 is the normal distribution's."""
    z = directions.gaussian(KEY, 9, "w", 0, MANY)

    below = [(z < x).mean() for x in (-2, -1, 0, 1, 2)]

    assert below == pytest.approx([0.02275, 0.15866, 0.5, 0.84134, 0.97725], abs=0.003)
