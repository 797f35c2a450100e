"""JSON as we write it: any plain value becomes a text that every reader of JSON takes."""

import json
import math
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.json_text import finite, is_finite, json_text, number_of, spelled

NOT_FINITE = [math.nan, math.inf, -math.inf]


def plain(numbers):
    """Return values as a status, a report or a message holds them."""
    leaves = st.none() | st.booleans() | st.integers() | st.text() | numbers
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(st.text(), inner, max_size=4)
            | st.dictionaries(st.text(), inner, max_size=4).map(MappingProxyType)
        ),
        max_leaves=20,
    )


def strictly(text):
    """Read JSON as other programs do: without the words that only Python takes for numbers."""
    return json.loads(text, parse_constant=pytest.fail)


@given(plain(st.floats()), st.sampled_from([None, 1]), st.booleans())
def test_any_plain_value_is_json_in_the_strict_sense(value, indent, sort_keys):
    """Whatever numbers are in it, and however deep, what is read again is the finite value."""
    text = json_text(value, indent=indent, sort_keys=sort_keys)

    assert strictly(text) == finite(value)


@given(plain(st.floats(allow_nan=False, allow_infinity=False)))
def test_a_finite_value_is_written_as_ever(value):
    """Hashes of what was written before hold: nothing but the other numbers is written otherwise."""
    assert json_text(finite(value)) == json.dumps(finite(value))


@given(plain(st.floats()))
def test_what_is_not_finite_becomes_null_and_nothing_else_changes(value):
    """Nulls stand exactly where a number was that JSON does not have."""
    assert is_finite(finite(value))
    assert (repr(spelled(value)) == repr(finite(value))) == is_finite(value)


@pytest.mark.parametrize("number", NOT_FINITE)
@pytest.mark.parametrize("around", [lambda x: x, lambda x: [x], lambda x: {"a": (1.5, x)}])
def test_each_is_null(number, around):
    """Alone, in a list, in a tuple of an object."""
    assert strictly(json_text(around(number))) == strictly(json_text(around(None)))


@pytest.mark.parametrize("key", [*NOT_FINITE, 1.5])
def test_a_number_as_a_key_is_a_text(key):
    """JSON has no other keys, and two readers may not differ in how they spell it."""
    assert strictly(json_text({key: 1})) == {str(key): 1}


@given(st.floats())
def test_a_spelled_number_is_read_again(number):
    """Infinities, NaN and all others come back as they were."""
    read = number_of(strictly(json_text(spelled(number))))

    assert read == number or (math.isnan(number) and math.isnan(read))


@pytest.mark.parametrize("value", [True, None, "nan", "inf", "1.0", [], {}])
def test_no_other_value_is_a_number(value):
    """A text is one only in the spelling that we write."""
    assert number_of(value) is None


def test_what_is_not_plain_is_not_written():
    """Without a default, an object is a mistake of the caller."""
    with pytest.raises(TypeError):
        json_text({"a": object()})


def test_a_default_gives_a_text():
    """As the log needs it, which must never raise."""
    assert json_text({"a": 1j, "b": math.inf}, default=str) == '{"a": "1j", "b": null}'
