"""What failed becomes a code; the words stay."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.client.data.clients import hold_out
from antiphon.client.data.examples import Example
from antiphon.client.data.formats import text
from antiphon.client.data.rows import load_rows
from antiphon.client.failure_code import code_of, read_code
from antiphon.client.language_model import pick_device
from antiphon.core import errors
from antiphon.core.refusals import Refusal, is_owners_word

CODES = [
    (errors.ConfigError(""), "config.unknown"),
    (errors.ModelError(""), "model.unavailable"),
    (errors.DownloadError(""), "model.unavailable"),
    (errors.RunFolderError(""), "machine.disk"),
    (errors.UpdateError(""), "task.unreadable"),
    (errors.ProtocolError(""), "trainer.failed"),
    (MemoryError(), "machine.memory"),
    (OSError(errno.ENOSPC, "full"), "machine.disk"),
    (PermissionError(errno.EACCES, "no"), "trainer.failed"),
    (ValueError(), "trainer.failed"),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda each: repr(each))
def test_each_kind_of_error_has_a_code(error: BaseException, code: str) -> None:
    """What nobody foresaw is `trainer.failed`."""
    assert code_of(error) == code


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (None, "data.unreadable"),
        ("", "data.too_few"),
        ("not json", "data.row"),
        (json.dumps({"other": 1}), "data.row"),
    ],
)
def test_what_is_wrong_with_rows_has_its_code(tmp_path: Path, rows: str | None, code: str) -> None:
    """A missing file, an empty one, and rows that do not fit are told apart."""
    file = tmp_path / "rows.jsonl"
    if rows is not None:
        file.write_text(rows)

    with pytest.raises(errors.DataError) as error:
        load_rows(str(file), text())

    assert code_of(error.value) == code


def test_too_few_rows_have_their_code() -> None:
    """A site that cannot hold out what it should."""
    with pytest.raises(errors.DataError) as error:
        hold_out("a", [Example()], eval_examples=1, max_train_examples=None, seed=0)

    assert code_of(error.value) == "data.too_few"


def test_a_device_that_is_not_there_has_its_code() -> None:
    """Apple's, on no Apple machine here."""
    with pytest.raises(errors.ModelError) as error:
        pick_device("mps")

    assert code_of(error.value) == "machine.device"


@given(text=st.text() | st.sampled_from([each.value for each in Refusal]))
def test_a_trainer_says_codes_and_nothing_else(text: str) -> None:
    """Words of its own become `trainer.failed`, and it cannot speak for the owner."""
    code = read_code(text)

    assert code in (text, Refusal.TRAINER_FAILED)
    assert not is_owners_word(code)
