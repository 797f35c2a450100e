"""What every installed partition has in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members.installed import cases

from antiphon.client.data.examples import Example
from antiphon.client.data.rows import Rows
from antiphon.core.errors import DataError

SITES = 4
WORDS = ("a", "b", "c")


@pytest.fixture(scope="module", params=cases("partition"), ids=str)
def partition(request):
    return request.param.build()


def rows(count):
    """Rows of a classification, from four sites."""
    labels = [index % len(WORDS) for index in range(count)]
    return Rows(
        tuple({"site": f"s{index % SITES}", "text": f"text {index}"} for index in range(count)),
        tuple(Example("", WORDS[label], choices=WORDS, label=label) for label in labels),
    )


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def assert_whole(shares, count):
    """Disjoint, complete, sorted, nobody empty: whole numbers that JSON can hold."""
    together = [index for share in shares.values() for index in share]
    assert sorted(together) == list(range(count))
    assert {type(index) for index in together} == {int}
    for client, share in shares.items():
        assert client
        assert isinstance(client, str)
        assert isinstance(share, tuple)
        assert list(share) == sorted(share)
        assert share


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_every_row_belongs_to_one_client(partition, seed):
    """Four clients of rows from four sites: disjoint, complete, sorted, nobody without a row."""
    shares = partition.split(rows(200), SITES, rng(seed))

    assert len(shares) == SITES
    assert_whole(shares, 200)


@settings(max_examples=60)
@given(count=st.integers(1, 30), clients=st.none() | st.integers(1, 12), seed=st.integers(0, 2**32))
def test_a_split_is_whole_or_refused(partition, count, clients, seed):
    """Few rows, many clients or no number of them: a DataError, or whole shares of so many clients."""
    try:
        shares = partition.split(rows(count), clients, rng(seed))
    except DataError:
        return

    assert clients in (None, len(shares))
    assert_whole(shares, count)


def test_the_generator_decides(partition):
    """Split again with an equal generator, after another split, the shares are the same."""
    first = partition.split(rows(100), SITES, rng(5))

    partition.split(rows(60), SITES, rng(6))

    assert partition.split(rows(100), SITES, rng(5)) == first
    assert list(partition.split(rows(100), SITES, rng(5))) == list(first)
