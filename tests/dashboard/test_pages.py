"""The pages, drawn by Streamlit itself on recorded journals."""

import os
import shutil
import sqlite3
import time

import pytest
from tests.dashboard.conftest import journal_of, texts
from tests.dashboard.large_journal import Fleet, write

from antiphon.core import events
from antiphon.core.events import ClientJoined, RoundPlanned, RunDescribed, RunStarted
from antiphon.core.journal import Journal

pytestmark = pytest.mark.slow

NASTY = '<img src=x onerror="alert(1)"> [a](http://b) :material/home: $x$ \u202e\ud800'
STARTED = RunStarted("run", "0", 3, 1, 3)


@pytest.fixture
def runs(recorded_runs, tmp_path):
    """A copy of the recorded runs, for a test that changes them."""
    return shutil.copytree(recorded_runs, tmp_path / "runs")


def assert_drawn(page):
    assert texts(page.exception) == ""
    assert texts(page.error) == ""


def contents(folder):
    """Return what the files hold; SQLite's readers make files without a byte."""
    found = {file: file.read_bytes() for file in folder.rglob("*.sqlite*") if file.is_file()}
    return {file: content for file, content in found.items() if content and "shm" not in file.name}


def test_the_runs_are_listed(open_page, recorded_runs):
    """Each run of the folder is a row."""
    page = open_page(recorded_runs)

    assert_drawn(page)
    table = page.dataframe[0].value.set_index("run")
    assert table.loc["complete", "state"] == "complete"
    assert table.loc["interrupted", "round"] == "3 of 3"


def test_an_empty_folder_says_what_will_come(open_page, tmp_path):
    """Where there is no run, each page says so."""
    for name in ("runs_page.py", "run_page.py", "fleet_page.py"):
        page = open_page(tmp_path / "none", name)

        assert_drawn(page)
        assert "No run in" in texts(page.info)


def test_a_complete_run_is_shown(open_page, recorded_runs):
    """Headline, charts, rounds and the reason of the plan are there."""
    page = open_page(recorded_runs, "run_page.py", run="complete")

    assert_drawn(page)
    metrics = {each.label: each.value for each in page.metric}
    assert metrics["Round"] == "3/3"
    assert set(metrics) == {"Round", "Loss", "Accuracy", "Moved", "Clients"}
    assert "complete\\: all rounds are over" in texts(page.markdown)
    assert "Why this plan" in texts(page.markdown)
    assert len(page.get("vega_lite_chart")) == 4


def test_an_interrupted_run_says_that_nothing_is_at_work(open_page, recorded_runs):
    """The last state and the way to go on are told."""
    page = open_page(recorded_runs, "run_page.py", run="interrupted")

    assert_drawn(page)
    assert "interrupted" in texts(page.markdown)
    assert "--resume" in texts(page.caption)


def test_a_simulated_run_is_shown(open_page, simulated_run):
    """The journal of a real run in simulation is drawn whole."""
    page = open_page(simulated_run.path.parent, "run_page.py", run=simulated_run.path.name)

    assert_drawn(page)
    assert {each.label: each.value for each in page.metric}["Round"] == "2/2"


@pytest.mark.parametrize("happened", [[], [STARTED], [STARTED, ClientJoined("a", 1)]])
@pytest.mark.parametrize("name", ["run_page.py", "fleet_page.py"])
def test_a_run_that_has_hardly_begun_is_shown(open_page, tmp_path, happened, name):
    """No event, or a few of them, are enough for a page."""
    journal_of(tmp_path / "young", happened)

    assert_drawn(open_page(tmp_path, name, run="young"))


def test_a_journal_of_a_newer_version_gives_a_message(open_page, runs):
    """What cannot be read is said, and the page stays."""
    with sqlite3.connect(runs / "complete" / "journal.sqlite") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    for name in ("runs_page.py", "run_page.py", "fleet_page.py"):
        page = open_page(runs, name, run="complete")

        assert not page.exception
        assert "newer Antiphon" in texts(page.error)


def test_an_unknown_event_gives_a_message(open_page, runs):
    """An event of a newer version is named."""
    with sqlite3.connect(runs / "complete" / "journal.sqlite") as connection:
        connection.execute("INSERT INTO event (at_s, kind, body) VALUES (1, 'dreamt', '{}')")
    connection.close()

    page = open_page(runs, "run_page.py", run="complete")

    assert not page.exception
    assert "dreamt" in texts(page.error)


def test_a_folder_that_is_removed_while_it_is_shown_is_missed(open_page, runs):
    """The page says that the run is gone, keeps its name, and shows it again when it is back."""
    page = open_page(runs, "run_page.py", run="complete")
    shutil.move(runs / "complete", runs.parent / "complete")

    page.run()
    assert not page.exception
    assert "moved or" in texts(page.warning)
    assert page.selectbox[0].value == "complete"

    shutil.move(runs.parent / "complete", runs / "complete")
    page.run()
    assert_drawn(page)
    assert page.metric


def test_the_choice_stays_while_the_run_grows(open_page, runs):
    """The run and the round that were chosen stay chosen when a new round is planned."""
    page = open_page(runs, "run_page.py", run="interrupted")
    page.selectbox[1].select("1").run()
    with Journal.writing(runs / "interrupted" / "journal.sqlite") as journal:
        journal.append_many([events.RunResumed(), events.RunStopped("enough")], 1e9)
    write(runs / "another" / "journal.sqlite", Fleet(2, 1))

    page.run()

    assert_drawn(page)
    assert [each.value for each in page.selectbox] == ["interrupted", "1"]
    assert "stopped\\: enough" in texts(page.markdown)


def test_an_address_names_no_other_folder(open_page, recorded_runs):
    """A name in the address that is no run of the folder opens nothing."""
    page = open_page(recorded_runs, "run_page.py", run="../recorded0/complete")

    assert not page.exception
    assert "is not in" in texts(page.warning)
    assert not page.metric


@pytest.mark.parametrize("name", ["run_page.py", "fleet_page.py"])
def test_text_of_others_is_escaped(open_page, tmp_path, name):
    """Names, reasons and devices that hold Markdown, HTML or worse are shown as letters."""
    happened = [
        STARTED,
        RunDescribed({"engine": "grpc", "trained_parameters": 8}),
        ClientJoined(NASTY, 1),
        events.ClientDescribed(NASTY, {"device": NASTY}),
        events.RoundEvaluated(0),
        RoundPlanned(1, (NASTY,), 1, 60.0, NASTY, {NASTY: {"method": NASTY}}),
        events.BytesMoved(1, NASTY, "down", NASTY, 5),
        events.ClientFailed(NASTY, 1, NASTY),
        events.Evaluated(1, NASTY, 1, 0.5, 0.5),
        events.RoundEvaluated(1, {"loss": float("nan")}),
        events.RunStopped(NASTY),
    ]
    journal_of(tmp_path / "nasty", happened)

    page = open_page(tmp_path, name, run="nasty")

    assert_drawn(page)
    drawn = texts(page.markdown) + texts(page.caption)
    assert "<img" not in drawn.replace("\\<", "")
    assert "[a](" not in drawn
    assert "\u202e" not in drawn


def test_the_fleet_is_shown(open_page, recorded_runs):
    """Every client is there with its device and what failed."""
    page = open_page(recorded_runs, "fleet_page.py", run="complete")

    assert_drawn(page)
    table = page.dataframe[0].value.set_index("client")
    assert table.loc["site-001", "device"] == "Intel(R) Xeon(R) Gold 6230"
    assert len(table) == 4


def test_nobody_is_there_when_nothing_is_at_work(open_page, recorded_runs):
    """Of a run that is over or interrupted, no client is said to be there."""
    for run, said in (("complete", "which is over"), ("interrupted", "goes on with --resume")):
        page = open_page(recorded_runs, "fleet_page.py", run=run)

        assert said in texts(page.caption)
        assert "can be given work now" not in texts(page.caption)
        assert "there" not in page.dataframe[0].value.columns


def test_nothing_is_written(open_page, runs):
    """Looking at a run changes none of its files."""
    before = contents(runs)

    for name in ("runs_page.py", "run_page.py", "fleet_page.py"):
        open_page(runs, name, run="complete")

    assert contents(runs) == before


@pytest.mark.slow
def test_a_large_journal_is_shown(open_page, tmp_path):
    """200 clients × 100 rounds: every page is drawn, and single clients can be added to the spread."""
    write(tmp_path / "large" / "journal.sqlite", Fleet(200, 100))

    for name in ("runs_page.py", "fleet_page.py", "run_page.py"):
        page = open_page(tmp_path, name, run="large")
        assert_drawn(page)

    page.multiselect[0].select("site-007").run()
    assert_drawn(page)
    assert {each.label: each.value for each in page.metric}["Round"] == "100/100"


def test_no_deadline_runs_where_nothing_is_at_work(open_page, tmp_path):
    """An interrupted run waits, but its page promises no end of that."""
    happened = [
        STARTED,
        ClientJoined("a", 1),
        events.RoundEvaluated(0),
        RoundPlanned(1, ("a",), 1, 3e9),
    ]
    folder = journal_of(tmp_path / "cut", happened, at_s=time.time() - 3600)
    folder.journal_file.with_name("journal.sqlite.lock").write_text("")
    os.utime(folder.journal_file, (time.time() - 3600,) * 2)

    page = open_page(tmp_path, "run_page.py", run="cut")

    assert_drawn(page)
    assert "waiting for 1 of 1 update" in texts(page.markdown)
    assert "deadline" not in texts(page.markdown)


def test_a_change_of_nothing_is_neither_good_nor_bad(open_page, tmp_path):
    """A loss and an accuracy that stayed where they were have no colour and no arrow."""
    measured = [[events.Evaluated(n, "a", 1, 0.5, 0.5), events.RoundEvaluated(n)] for n in (0, 1)]
    work = [RoundPlanned(1, ("a",), 1, 60.0), events.UpdateReceived("a", 1, "d", 1, 1, 1)]
    work += [events.RoundFolded(1, "")]
    journal_of(
        tmp_path / "flat", [STARTED, ClientJoined("a", 1), *measured[0], *work, *measured[1]]
    )

    page = open_page(tmp_path, "run_page.py", run="flat")

    assert_drawn(page)
    changes = {each.label: each.delta for each in page.metric}
    assert (changes["Loss"], changes["Accuracy"]) == ("unchanged", "unchanged")


def test_a_round_in_which_no_time_passed_says_what_happened(open_page, tmp_path):
    """A chart without a bar is no chart: who failed at once is named instead."""
    failed = events.ClientFailed("a", 1, "machine.disk: the disk is full")
    opening = [STARTED, ClientJoined("a", 1), events.RoundEvaluated(0)]
    happened = [*opening, RoundPlanned(1, ("a",), 1, 60.0), failed]
    journal_of(tmp_path / "instant", happened, at_s=5.0)

    page = open_page(tmp_path, "run_page.py", run="instant")

    assert_drawn(page)
    assert len(page.get("vega_lite_chart")) == 0
    assert "a: failed, machine" in texts(page.caption)
