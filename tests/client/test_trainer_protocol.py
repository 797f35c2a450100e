"""The lines between a daemon and its trainer say what was meant, or are refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.trainer_protocol import (
    Cancel,
    Cancelled,
    Evaluate,
    Evaluated,
    Failed,
    Prepare,
    Prepared,
    Rebuild,
    Rebuilt,
    Respond,
    Responded,
    Stepped,
    Train,
    Trained,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from antiphon.core.errors import ProtocolError

TEXT = st.text()
VALUES = st.dictionaries(TEXT, st.integers() | TEXT | st.none(), max_size=3)
COUNT = st.integers(0, 2**40)
LOSS = st.floats(allow_nan=False)
REQUESTS = st.one_of(
    st.builds(Prepare, TEXT, VALUES, VALUES, st.none() | TEXT, st.none() | COUNT),
    st.builds(Train, TEXT, TEXT, TEXT, TEXT, st.none() | LOSS),
    st.builds(Evaluate, TEXT, TEXT),
    st.builds(Rebuild, TEXT, st.none() | TEXT, st.none() | TEXT),
    st.builds(Respond, COUNT, TEXT, TEXT, TEXT, TEXT),
    st.just(Cancel()),
)
ANSWERS = st.one_of(
    st.builds(Prepared, COUNT, COUNT, st.binary(), st.binary()),
    st.builds(Stepped, COUNT, COUNT, LOSS),
    st.builds(Trained, TEXT, st.none() | TEXT, COUNT),
    st.builds(Evaluated, COUNT, st.dictionaries(TEXT, LOSS, max_size=3)),
    st.builds(Rebuilt, TEXT),
    st.builds(Responded, TEXT),
    st.builds(Cancelled, TEXT),
    st.builds(Failed, TEXT, TEXT, st.booleans()),
)


@given(REQUESTS)
def test_a_request_survives_its_line(request_):
    """What is decoded is what was encoded, in one line."""
    line = encode_request(request_)

    assert decode_request(line) == request_
    assert line.count(b"\n") == 1


@given(ANSWERS)
def test_an_answer_survives_its_line(answer):
    """What is decoded is what was encoded, in one line."""
    line = encode_answer(answer)

    assert decode_answer(line) == answer
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_exploded_is_json_and_arrives(loss):
    """A trainer in any language can write and read it, and the daemon hears what it was."""
    line = encode_answer(Stepped(1, 2, loss))

    assert isinstance(json.loads(line, parse_constant=pytest.fail)["loss"], str)
    assert repr(decode_answer(line)) == repr(Stepped(1, 2, loss))


def test_a_loss_without_quotes_is_understood():
    """As trainers of before wrote it."""
    assert decode_answer(b'{"step": 1, "of": 2, "loss": Infinity}') == Stepped(1, 2, math.inf)


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff\n", b"[1]\n", b"{}\n", b'{"do": "dance"}\n', b'{"do": "evaluate", "model": 1}\n'],
    ids=str,
)
def test_gibberish_is_refused_in_both_directions(line):
    """The error quotes the line and says what was expected."""
    for decode in (decode_request, decode_answer):
        with pytest.raises(ProtocolError, match="expected"):
            decode(line)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(line):
    """Nothing but ProtocolError comes out of bytes that are no message."""
    with pytest.raises(ProtocolError):
        decode_answer(b'{"step": ' + line)
