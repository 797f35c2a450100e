"""The list of a folder's runs."""

import os
import sqlite3

import pytest
from tests.dashboard.conftest import journal_of

from antiphon.core.events import (
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunResumed,
    RunRewound,
    RunStarted,
    RunStopped,
)
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.runs_list import RunsList
from antiphon.dashboard.shelf import Shelf

STARTED = RunStarted("run", "0", 5, 1, 3)


def line(runs):
    (only,) = RunsList().lines(runs, now=2e9)
    return only


def test_a_line_says_what_the_page_of_the_run_says(recorded_runs):
    """Round, loss, accuracy and bytes are those of the run's own page."""
    lines = {each.name: each for each in RunsList().lines(recorded_runs, now=2e9)}
    view = Shelf().view(RunFolder(recorded_runs / "complete"))
    loss, accuracy = view.means

    found = lines["complete"].summary

    assert (found.round, found.rounds, found.bytes) == (3, 3, view.sums.all)
    assert found.final("loss") == pytest.approx(loss.values[-1])
    assert found.final("accuracy") == pytest.approx(accuracy.values[-1])
    assert {name: each.life for name, each in lines.items()} == {
        "complete": "complete",
        "interrupted": "interrupted",
    }


def test_a_run_that_has_not_begun_is_listed(tmp_path):
    """A folder with a config and no journal is an empty run."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").touch()

    assert line(tmp_path).life == "empty"


def test_an_event_that_is_no_json_makes_a_run_unreadable(tmp_path):
    """Damage in an event that the line does not show is found too: the run's page cannot be drawn."""
    folder = journal_of(tmp_path / "a", [STARTED])
    with sqlite3.connect(folder.journal_file) as connection:
        connection.execute("INSERT INTO event (at_s, kind, body) VALUES (1, 'client_left', '{')")
    connection.close()

    found = line(tmp_path)

    assert found.life == "unreadable"
    assert f"{folder.journal_file} is damaged (entry 2" in found.error


def test_the_newest_activity_comes_first(tmp_path):
    """Runs are in the order of their last change."""
    for name, changed_at in (("a", 1e9), ("b", 1.1e9), ("c", 0.9e9)):
        folder = journal_of(tmp_path / name, [STARTED])
        os.utime(folder.journal_file, (changed_at, changed_at))

    assert [each.name for each in RunsList().lines(tmp_path, 2e9)] == ["b", "a", "c"]


def test_only_what_is_new_is_added(tmp_path):
    """A list that has seen a run before gives what a new one gives."""
    runs = RunsList()
    journal_of(tmp_path / "a", [STARTED, RoundPlanned(1, (), 1, 1.0), RunStopped("enough")])
    runs.lines(tmp_path, 2e9)
    journal_of(tmp_path / "a", [RunResumed(), RoundPlanned(2, (), 1, 1.0)])

    assert runs.lines(tmp_path, 2e9) == RunsList().lines(tmp_path, 2e9)
    assert line(tmp_path).summary.round == 2
    assert line(tmp_path).summary.end is None


@pytest.mark.parametrize(("by_policy", "life"), [(True, "complete"), (False, "stopped")])
def test_a_spent_budget_is_no_failure(tmp_path, by_policy, life):
    """A run that its policy ended after a folded round is complete; one that somebody stopped is not."""
    round_1 = [RoundPlanned(1, (), 1, 1.0), RoundFolded(1, ""), RoundEvaluated(1, {"loss": 1.0})]

    journal_of(tmp_path / "a", [STARTED, *round_1, RunStopped("spent", by_policy)])

    assert line(tmp_path).life == life


def test_a_model_that_was_taken_back_does_not_count(tmp_path):
    """After the guard undid a round, the final loss is that of the model before it."""
    happened = [RoundEvaluated(0, {"loss": 2.0})]
    for number, loss in ((1, 1.0), (2, 9.0)):
        happened += [RoundPlanned(number, (), 1, 1.0), RoundFolded(number, "")]
        happened += [RoundEvaluated(number, {"loss": loss})]
    undone = [RoundPlanned(3, (), 1, 1.0), RoundUndone(3, "exploded")]
    journal_of(tmp_path / "a", [STARTED, *happened, *undone])

    assert line(tmp_path).summary.final("loss") == 1.0


def test_a_run_that_went_back_shows_the_model_that_it_went_back_to(tmp_path):
    """What was measured after that round does not count, and the run goes on."""
    happened = [RoundEvaluated(0, {"loss": 2.0})]
    for number, loss in ((1, 1.0), (2, 0.5)):
        happened += [RoundPlanned(number, (), 1, 1.0), RoundFolded(number, "")]
        happened += [RoundEvaluated(number, {"loss": loss})]
    journal_of(tmp_path / "a", [STARTED, *happened, RunStopped("enough"), RunRewound(1, "damaged")])

    assert line(tmp_path).summary.final("loss") == 1.0
    assert line(tmp_path).summary.end is None


def test_an_unreadable_journal_is_said(tmp_path):
    """One broken journal does not hide the others."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "journal.sqlite").write_bytes(b"nothing that SQLite knows" * 99)
    journal_of(tmp_path / "good", [STARTED])

    lines = {each.name: each for each in RunsList().lines(tmp_path, 2e9)}

    assert lines["bad"].life == "unreadable"
    assert "journal.sqlite" in lines["bad"].error
    assert lines["good"].error == ""


def test_no_folder_has_no_runs(tmp_path):
    """A folder that is not there yet is empty."""
    assert RunsList().lines(tmp_path / "none", 2e9) == ()
