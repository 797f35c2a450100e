"""The tiny model with its data, loaded once for the tests of a process."""

import pytest

from antiphon.client.data.clients import encode_client, hold_out
from antiphon.client.data.formats import classification
from antiphon.client.data.rows import load_rows
from antiphon.client.language_model import load


@pytest.fixture
def model():
    return load("tiny", device="cpu")


@pytest.fixture(scope="session")
def rows():
    return load_rows("tiny", form())


def form(loss="vocabulary"):
    return classification(
        text="text",
        label="label",
        template="{text} it was",
        verbalizers={"dark": " dark", "bright": " bright"},
        loss=loss,
    )


@pytest.fixture
def client(model, rows):
    """Forty examples to train on and thirty held out."""
    examples = hold_out("all", rows.examples[:200], eval_examples=30, max_train_examples=40, seed=1)
    return encode_client(model.tokenizer, examples, 64)
