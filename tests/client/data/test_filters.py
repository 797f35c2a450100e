import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.data.filters import check_filter, passes
from antiphon.core.errors import ConfigError, DataError


@given(value=st.floats(-5, 5), low=st.floats(-5, 5), high=st.floats(-5, 5))
def test_two_numbers_are_a_range(value, low, high):
    """Two numbers keep what lies between them, ends included."""
    kept = passes({"rating": value}, {"rating": [low, high]})

    assert kept == (low <= value <= high)


@pytest.mark.parametrize(
    ("condition", "kept"), [("a", True), ("b", False), (["b", "a"], True), (["b", "c"], False)]
)
def test_values_are_compared(condition, kept):
    """One value keeps its equals, a list keeps the equals of its members."""
    assert passes({"kind": "a"}, {"kind": condition}) is kept


def test_true_is_not_one():
    """A filter on 1 does not keep rows that say true."""
    assert not passes({"kind": True}, {"kind": 1})


def test_every_condition_must_hold():
    """A row that fails one of several conditions is left out."""
    assert not passes({"a": 1, "b": 2}, {"a": 1, "b": 3})


def test_a_field_that_is_not_there_is_said():
    """A filter on a field that a row lacks names the fields it has."""
    with pytest.raises(DataError, match="names 'strenght', but the row has strength"):
        passes({"strength": 1}, {"strenght": [0, 1]})


@pytest.mark.parametrize("condition", [[2, 1], [], {"min": 1}])
def test_impossible_filter_is_refused(condition):
    """A condition that nothing can meet is a config error."""
    with pytest.raises(ConfigError):
        check_filter({"rating": condition})
