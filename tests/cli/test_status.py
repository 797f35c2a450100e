"""`antiphon status`: a run that nobody works on any more, from its journal."""

import io
import json

import pytest
from rich.console import Console

from antiphon.cli.status import show_status
from antiphon.core.events import ClientDescribed, ClientJoined, RunStarted
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


def test_facts_are_in_the_json(folder, capsys):
    """The JSON has the same names as a coordinator's own answer."""
    show_status(folder.path, Console(file=io.StringIO()), as_json=True)

    north, south = json.loads(capsys.readouterr().out)["clients"]
    assert (north["facts"]["memory_bytes"], south["facts"]) == (8 << 30, {})
