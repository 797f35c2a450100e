"""The end of a run: journalled first, told afterwards."""

import pytest

from antiphon.core.errors import ReportError
from antiphon.core.events import RunEnded
from antiphon.core.journal import Journal
from antiphon.server.machine.actions import Finish
from antiphon.server.report import plots
from antiphon.server.report.report import read, write
from antiphon.server.run_end import end_run

FINISH = Finish(True, "all rounds are over: 1 folded")


def last_event(folder):
    with Journal.reading(folder.journal_file) as journal:
        return list(journal.read())[-1].event


def test_the_end_is_journalled_before_the_report_is_made(federation, monkeypatch):
    """While the report is made, the run is over already."""
    seen = []
    monkeypatch.setattr(plots, "draw", lambda *given: seen.append(federation.folder.is_complete()))

    with pytest.raises(ReportError):  # there are no pictures to link
        end_run(federation, FINISH, {})

    assert seen == [True]


@pytest.mark.parametrize("error", [ValueError("bad\nnumber"), OSError(28, "disk"), MemoryError()])
def test_whatever_the_report_raises_the_run_is_over(federation, monkeypatch, error):
    """The message says that the run is over, what went wrong, and how the report is made."""

    def draw(*given):
        raise error

    monkeypatch.setattr(plots, "draw", draw)

    with pytest.raises(ReportError) as caught:
        end_run(federation, FINISH, {})

    assert last_event(federation.folder) == RunEnded(True, FINISH.reason)
    said = str(caught.value)
    assert f"over (complete: {FINISH.reason})" in said
    assert type(error).__name__ in said
    assert f"`antiphon report {federation.folder.path}`" in said


def test_a_report_of_before_does_not_stand_for_the_one_that_failed(federation, monkeypatch):
    """What a run left when it had stopped is no report of its later end."""
    write(federation.folder)

    def draw(*given):
        raise ValueError

    with monkeypatch.context() as broken:
        broken.setattr(plots, "draw", draw)
        with pytest.raises(ReportError):
            end_run(federation, FINISH, {})

    assert not federation.folder.report_json.exists()
    assert read(federation.folder)["run_id"] == federation.run_id


def test_what_is_known_only_at_the_end_is_in_the_report(federation):
    """The peak of the memory, say."""
    end_run(federation, FINISH, {"peak_memory_bytes": 7})

    assert read(federation.folder)["peak_memory_bytes"] == 7


def test_a_report_that_is_torn_is_made_again(federation):
    """It is read only where it is whole."""
    end_run(federation, FINISH, {})
    federation.folder.report_json.write_text('{"run_id": "r')

    assert read(federation.folder)["run_id"] == federation.run_id
