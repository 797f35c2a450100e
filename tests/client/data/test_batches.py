from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.data.batches import batches, order


@given(seed=st.integers(0, 2**63 - 1), examples=st.integers(1, 50))
def test_an_epoch_sees_every_example_once(seed, examples):
    """Each run of `examples` indices is a shuffle of all of them."""
    indices = order(seed, examples)

    for _ in range(3):
        assert sorted(islice(indices, examples)) == list(range(examples))


@given(seed=st.integers(0, 2**63 - 1), size=st.integers(1, 20))
def test_the_same_seed_gives_the_same_batches(seed, size):
    """Batches follow from the seed, are full, and run on over the end of an epoch."""
    first = list(islice(batches(seed, 7, size), 5))

    assert first == list(islice(batches(seed, 7, size), 5))
    assert all(len(batch) == size for batch in first)


def test_another_seed_gives_another_order():
    """Two seeds shuffle differently."""
    assert list(islice(order(1, 100), 100)) != list(islice(order(2, 100), 100))


def test_nothing_cannot_be_ordered():
    """An empty set of examples is refused."""
    with pytest.raises(ValueError, match="at least one"):
        next(order(0, 0))
