"""`antiphon split`: files that give real machines the data of a simulation."""

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from antiphon.cli.split import split_run
from antiphon.client.data.local import load_local
from antiphon.core.errors import DataError, RunFolderError
from antiphon.core.section import Choice
from antiphon.simulation.shares import load_split


@pytest.fixture
def run_file(tiny_values, tmp_path) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_values, sort_keys=False))
    return file


def split(run_file, out, *overrides):
    said = io.StringIO()
    split_run(run_file, overrides, out, Console(file=said, width=200))
    return said.getvalue()


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.max_train_examples=null"],
        ["data.partition={kind: dirichlet, alpha: 0.5}", "data.clients=3"],
        ["data.filter={label: [dark, bright], site: [meadow, summit]}"],
    ],
    ids=str,
)
def test_the_files_are_the_simulations_shares(tiny_config, run_file, tmp_path, overrides):
    """A machine that is given its file makes the examples that its client has in a simulation."""
    split(run_file, tmp_path / "shares", *overrides)
    config = tiny_config(*overrides)

    expected = load_split(config).clients
    assert len(expected) > 1
    for client in expected:
        file = str(tmp_path / "shares" / f"{client.name}.jsonl")
        data = config.data.model_copy(update={"dataset": file, "partition": Choice(kind="iid")})
        assert load_local(client.name, data, config.seed).examples == client


def test_nothing_but_shares_is_written(run_file, tmp_path):
    """One file for each client, and the table of the split on the console."""
    said = split(run_file, tmp_path / "shares")

    names = sorted(path.name for path in (tmp_path / "shares").iterdir())
    assert names == ["harbour.jsonl", "meadow.jsonl", "quarry.jsonl", "summit.jsonl"]
    assert "harbour" in said


def test_rows_keep_their_values(run_file, tmp_path):
    """Numbers, other alphabets and lone surrogates come out as the values that went in."""
    row = '{"site": "%s", "text": "é \\ud800 日", "label": "dark", "n": 1.5e300, "deep": [null, {}]}\n'
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(row % site for site in "abab"), encoding="utf-8")

    split(run_file, tmp_path / "shares", f"data.dataset={source}", "data.eval_examples=1")

    lines = (tmp_path / "shares" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(row % "a")] * 2


def test_an_existing_folder_is_refused(run_file, tmp_path):
    """What is there already is not touched."""
    (tmp_path / "shares").mkdir()

    with pytest.raises(RunFolderError, match="exists already"):
        split(run_file, tmp_path / "shares")


def test_a_name_that_is_a_path_is_refused(run_file, tmp_path):
    """A client called a/b would be a file elsewhere; nothing is written."""
    source = tmp_path / "rows.jsonl"
    source.write_text('{"site": "../a", "text": "la", "label": "dark"}\n' * 3)

    with pytest.raises(DataError, match=r"'\.\./a' cannot have a file"):
        split(run_file, tmp_path / "shares", f"data.dataset={source}", "data.eval_examples=1")

    assert not (tmp_path / "shares").exists()
