"""`antiphon report`: a run's report, made again."""

import io

import pytest
from rich.console import Console
from tests.server.journals import OPENING, folder_of, whole_round

from antiphon.cli.report import make_report
from antiphon.core.errors import RunFolderError
from antiphon.core.events import RunEnded


def test_the_report_of_a_run_that_is_over_is_made_again(tmp_path):
    """From its journal alone: numbers, page and pictures."""
    end = RunEnded(True, "all rounds are over: 2 folded")
    folder = folder_of(tmp_path, [*OPENING, *whole_round(1), *whole_round(2), end])
    told = io.StringIO()

    report = make_report(tmp_path, Console(file=told, width=200))

    assert report["complete"]
    assert all(each.is_file() for each in (folder.report_json, folder.report_md))
    assert (folder.plots / "learning.svg").is_file()
    assert "report.md" in told.getvalue()


def test_the_report_of_a_run_that_is_not_over_says_so(tmp_path):
    """One that was interrupted has a report too, and is not said to have stopped."""
    folder_of(tmp_path, [*OPENING, *whole_round(1)])
    told = io.StringIO()

    report = make_report(tmp_path, Console(file=told, width=200))

    assert report["reason"] is None
    assert "is not over: this is its report until now" in told.getvalue()
    assert "stopped" not in told.getvalue()


def test_a_folder_without_a_journal_has_no_report(tmp_path):
    """The error says what is missing."""
    with pytest.raises(RunFolderError, match="no journal"):
        make_report(tmp_path, Console(file=io.StringIO()))
