"""The files of a report."""

import json
import math
import os
from pathlib import Path

import pytest
from tests.server.journals import (
    OPENING,
    folder_of,
    whole_round,
)

from antiphon.core.errors import RunFolderError
from antiphon.core.events import (
    RoundUndone,
    RunDescribed,
)
from antiphon.core.run_folder import RunFolder
from antiphon.server.report.report import write


def test_written_json_has_no_nan(tmp_path: Path) -> None:
    """report.json is what `write` returns, and JSON in the strict sense."""
    broken = RunDescribed({"skipped_rows": math.inf})
    folder = folder_of(tmp_path, [*OPENING, broken, *whole_round(1, loss=math.nan)])

    report = write(folder)

    text = folder.report_json.read_text()
    assert json.loads(text, parse_constant=pytest.fail) == report
    assert report["skipped_rows"] is None


def test_a_picture_that_cannot_be_drawn_stops_no_report(tmp_path: Path) -> None:
    """What is in its way is left alone; the other pictures and the report are there."""
    folder = folder_of(tmp_path, [*OPENING, *whole_round(1)])
    (folder.plots / "bytes.svg" / "in the way").mkdir(parents=True)

    report = write(folder)

    assert json.loads(folder.report_json.read_text()) == report
    assert (folder.plots / "time.svg").is_file()


def test_paths(tmp_path: Path) -> None:
    """The adapter is the last saved one whose round was not undone, as an absolute path."""
    undone = [*whole_round(2)[:-1], RoundUndone(2, "exploded")]
    folder = folder_of(tmp_path, [*OPENING, *whole_round(1), *undone])
    for number in (1, 2):
        folder.adapter(number).mkdir(parents=True)
        (folder.adapter(number) / "adapter_config.json").write_text("{}")

    report = write(RunFolder(Path(os.path.relpath(tmp_path))))

    assert report["run_dir"] == str(tmp_path.resolve())
    assert report["adapter"] == str(folder.adapter(1).resolve())


def test_written_again(tmp_path: Path) -> None:
    """A second report replaces the first, and other pictures in plots/ stay."""
    folder = folder_of(tmp_path, [*OPENING, *whole_round(1)])
    folder.plots.mkdir()
    (folder.plots / "split.svg").write_text("<svg/>")

    assert write(folder) == write(folder)

    assert "](plots/split.svg)" in folder.report_md.read_text()
    left = {path.name for path in folder.plots.iterdir()}
    assert left == {"bytes.svg", "learning.svg", "split.svg", "time.svg"}


def test_no_journal(tmp_path: Path) -> None:
    """A folder without a journal is no run, and nothing is written there."""
    with pytest.raises(RunFolderError, match="no journal"):
        write(RunFolder(tmp_path))

    assert list(tmp_path.iterdir()) == []
