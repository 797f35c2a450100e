"""What is valid in the data and probably not meant is said."""

from __future__ import annotations

import pytest

from antiphon.client.data.advice import advice
from antiphon.client.data.clients import ClientData, ClientExamples, encode_client
from antiphon.client.data.examples import Example
from antiphon.client.language_model import load_tokenizer
from antiphon.core.errors import DataError, ModelError


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("tiny")


def client(
    tokenizer, choices: tuple[str, ...] = (" dark", " bright"), length: int = 64
) -> ClientData:
    """Three rows for training and one held out, whose label is one of the choices."""
    rows = [Example("the lamp it was", choices[0], choices=choices, label=0)] * 4
    held = ClientExamples("harbour", tuple(rows[:3]), tuple(rows[3:]))
    return encode_client(tokenizer, held, length)


def test_data_that_is_meant_gets_no_advice(tokenizer) -> None:
    """Enough rows that fit, with words that begin differently."""
    assert advice([client(tokenizer)], max_length=64, batch=3) == ()


def test_cut_examples_are_counted_with_their_total(tokenizer) -> None:
    """How many of how many lose a part of their prompt."""
    (said,) = advice([client(tokenizer, length=3)] * 2, max_length=3, batch=3)

    assert "6 of 6" in said
    assert "max_length" in said


def test_clients_with_fewer_rows_than_a_step_are_named(tokenizer) -> None:
    """A step that takes sixteen examples of three sees each of them five times."""
    (said,) = advice([client(tokenizer)], max_length=64, batch=16)

    assert "harbour 3" in said


def test_a_choice_that_begins_another_is_named(tokenizer) -> None:
    """The shorter one can never be less likely than the longer."""
    (said,) = advice([client(tokenizer, (" dark", " dark bright"))], max_length=64, batch=3)

    assert "' dark'" in said


def test_choices_of_the_same_tokens_are_refused(tokenizer) -> None:
    """Two words that the tokenizer does not know are one and the same to it."""
    with pytest.raises(DataError, match="tell them apart"):
        client(tokenizer, (" zzyzx", " qqfqq"))


def test_a_model_without_a_tokenizer_is_named(tmp_path) -> None:
    """A folder that holds no tokenizer gives an error that names it."""
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(str(tmp_path))
