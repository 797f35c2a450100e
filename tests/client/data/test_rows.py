import json
import os
import subprocess
import sys

import pytest

from antiphon.client.data import formats
from antiphon.client.data.rows import load_rows
from antiphon.core.errors import DataError

GOOD = b'{"text": "one", "n": 1}\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{broken\n", "not JSON"),
        (b'{"text": "\xff"}\n', "not UTF-8"),
        (b"[1, 2]\n", "must be a JSON object"),
        (b'{"body": "b"}\n', "'text' is missing"),
        (b"[" * 100_000 + b"\n", "not JSON"),
    ],
)
def test_a_bad_row_names_its_place(tmp_path, line, said):
    """A broken row ends the load with the file and the number of its line."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD + line)

    with pytest.raises(DataError, match=rf"rows\.jsonl:2: .*{said}"):
        load_rows(str(file), formats.text())


def test_bad_rows_can_be_skipped_and_are_counted(tmp_path):
    """With skip, broken rows and rows that the format refuses are counted and the rest is kept."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD + b"{broken\n" + b'{"body": "b"}\n' + GOOD)

    rows = load_rows(str(file), formats.text(), on_bad_rows="skip")

    assert (len(rows.values), len(rows.examples), len(rows.skipped)) == (2, 2, 2)


def test_a_folder_is_read_in_order_of_names(tmp_path):
    """The files of a folder follow each other by name, blank lines aside."""
    (tmp_path / "b.jsonl").write_text('{"text": "second"}\n\n')
    (tmp_path / "a.jsonl").write_text('\n{"text": "first"}')

    rows = load_rows(str(tmp_path), formats.text())

    assert [row["text"] for row in rows.values] == ["first", "second"]


def test_the_filter_keeps_what_it_names(tmp_path):
    """Rows outside the filter are left out without being counted as bad."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": "t", "n": n}) + "\n" for n in range(5)))

    rows = load_rows(str(file), formats.text(), wanted={"n": [1, 3]})

    assert ([row["n"] for row in rows.values], rows.skipped) == ([1, 2, 3], ())


def test_a_filter_that_keeps_nothing_is_said(tmp_path):
    """A filter that no row passes is an error that says so."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(GOOD)

    with pytest.raises(DataError, match="no row passes"):
        load_rows(str(file), formats.text(), wanted={"n": 2})


def test_an_empty_file_is_said(tmp_path):
    """A file without rows is an error."""
    file = tmp_path / "rows.jsonl"
    file.touch()

    with pytest.raises(DataError, match="is empty"):
        load_rows(str(file), formats.text())


@pytest.mark.parametrize("name", ["missing.jsonl", "data/missing.jsonl", "nonsense"])
def test_a_missing_file_is_said(name):
    """A data set that is nowhere is an error that lists the known names."""
    with pytest.raises(DataError, match="vader-reviews"):
        load_rows(name, formats.text())


def test_a_folder_without_data_is_said(tmp_path):
    """A folder without JSONL files is an error."""
    with pytest.raises(DataError, match=r"holds no \*\.jsonl"):
        load_rows(str(tmp_path), formats.text())


def test_a_model_is_no_data_set():
    """A model's name where a data set is wanted is an error that lists the data sets."""
    with pytest.raises(DataError, match="is a model"):
        load_rows("smollm2-135m", formats.text())


@pytest.mark.slow
def test_an_unreachable_hub_is_said(tmp_path):
    """A hub id that cannot be had is a DataError, not the hub client's own."""
    code = (
        "from antiphon.client.data import formats, rows\n"
        "rows.load_rows('owner/name', formats.text())\n"
    )
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )

    assert "DataError: no file or folder 'owner/name', and the hub could not" in done.stderr
