"""`antiphon status`: a run that nobody works on any more, from its journal."""

import io
import json

import pytest
from rich.console import Console

from antiphon.cli.status import show_status
from antiphon.core.events import ClientDescribed, ClientJoined, RunStarted, RunStopped
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, create


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A run that two clients have joined; one has said what its machine is."""
    folder = create(tmp_path, "run", {}, "0")
    facts = {"device": "cuda", "device_name": "NVIDIA H100", "memory_bytes": 8 << 30}
    with Journal.writing(folder.journal_file) as journal:
        for event in (
            RunStarted("run", "0", 2, 3, 1),
            ClientDescribed("north", facts),
            ClientJoined("north", 10),
            ClientJoined("south", 10),
        ):
            journal.append(event, 0.0)
    return folder


def test_devices_are_shown(folder):
    """A client's device is in the table, also when no coordinator can be asked."""
    told = io.StringIO()

    show_status(folder.path, Console(file=told, width=120), as_json=False)

    rows = {line.split()[1]: line for line in told.getvalue().splitlines() if line[:1] == "│"}
    assert "NVIDIA H100" in rows["north"]
    assert "NVIDIA" not in rows["south"]


def test_an_interrupted_run_says_how_it_goes_on(folder):
    """Of a run that nothing is at work on, the command that goes on is told, and who is there is not."""
    folder.journal_file.with_name("journal.sqlite.lock").write_text("")  # of no process
    told = io.StringIO()

    show_status(folder.path, Console(file=told, width=120), as_json=False)

    lines = told.getvalue().splitlines()
    assert "(interrupted)" in lines[0]
    assert "`antiphon serve RUN.yaml --resume` goes on" in lines[1]
    assert not [line for line in lines if line[:1] == "│" and "yes" in line]


def test_a_run_at_work_is_not_interrupted(folder, capsys):
    """While the process that writes the journal is there, who is present stands in the journal."""
    with Journal.writing(folder.journal_file):
        show_status(folder.path, Console(file=io.StringIO()), as_json=True)

    status = json.loads(capsys.readouterr().out)
    assert status["standing"].startswith("at work")
    assert [each["present"] for each in status["clients"]] == [True, True]


def test_nobody_is_there_after_the_end(folder, capsys):
    """A run that is over waits for nobody, and needs no word on how it goes on."""
    with Journal.writing(folder.journal_file) as journal:
        journal.append(RunStopped("the operator said so"), 1.0)

    show_status(folder.path, Console(file=io.StringIO()), as_json=True)

    status = json.loads(capsys.readouterr().out)
    assert (status["standing"], status["why"]) == ("over", "stopped: the operator said so")
    assert [each["present"] for each in status["clients"]] == [None, None]


def test_facts_are_in_the_json(folder, capsys):
    """The JSON has the same names as a coordinator's own answer."""
    show_status(folder.path, Console(file=io.StringIO()), as_json=True)

    north, south = json.loads(capsys.readouterr().out)["clients"]
    assert (north["facts"]["memory_bytes"], south["facts"]) == (8 << 30, {})
