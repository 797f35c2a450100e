import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.data.clients import hold_out, usual_hold_out
from antiphon.client.data.examples import Example
from antiphon.core.errors import DataError

EXAMPLES = [Example(completion=str(index)) for index in range(30)]


@given(seed=st.integers(0, 2**63 - 1), held=st.integers(1, 29))
def test_held_out_examples_are_never_trained_on(seed, held):
    """Training and held-out parts are disjoint and together everything."""
    client = hold_out("a", EXAMPLES, eval_examples=held, max_train_examples=None, seed=seed)

    assert len(client.evaluation) == held
    assert set(client.train) | set(client.evaluation) == set(EXAMPLES)
    assert not set(client.train) & set(client.evaluation)


@pytest.mark.parametrize(("examples", "held"), [(2, 1), (9, 1), (50, 10), (500, 100), (10**6, 100)])
def test_a_fifth_is_held_out_where_nobody_says(examples, held):
    """At least one, and a hundred at most."""
    assert usual_hold_out(examples) == held


def test_the_cap_shortens_training_only():
    """A cap keeps that many training examples and the same held-out ones."""
    whole = hold_out("a", EXAMPLES, eval_examples=5, max_train_examples=None, seed=1)
    capped = hold_out("a", EXAMPLES, eval_examples=5, max_train_examples=7, seed=1)

    assert capped.evaluation == whole.evaluation
    assert capped.train == whole.train[:7]


def test_two_clients_shuffle_differently():
    """The shuffle depends on the client's name, so that equal data are not held out alike."""
    first, second = (
        hold_out(name, EXAMPLES, eval_examples=9, max_train_examples=None, seed=1) for name in "ab"
    )

    assert first.evaluation != second.evaluation


def test_too_few_examples_say_what_to_lower():
    """A client that would have nothing to train on is an error naming it and the setting."""
    with pytest.raises(DataError, match=r"'a' has 30 examples.*lower data.eval_examples"):
        hold_out("a", EXAMPLES, eval_examples=30, max_train_examples=None, seed=1)
