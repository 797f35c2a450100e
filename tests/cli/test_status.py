"""`antiphon status`: a run that nobody works on any more, from its journal."""

import io
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from antiphon.cli.status import show_status
from antiphon.core.errors import UserError
from antiphon.core.events import (
    ClientDeclined,
    ClientDescribed,
    ClientJoined,
    ClientRevoked,
    RunStarted,
    RunStopped,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, create
from antiphon.server.enrolment.occupancy import occupied, run_at_work


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


class _Answers(BaseHTTPRequestHandler):
    """A coordinator's /status, as far as the command reads it."""

    def do_GET(self):
        body = json.dumps(self.server.status).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told):
        """Say nothing."""


@pytest.fixture
def answering():
    """`answering(folder)`: a coordinator at work on a run, as far as /status goes."""
    servers = []

    def answer(folder):
        server = HTTPServer(("127.0.0.1", 0), _Answers)
        server.status = {
            "run_id": folder.run_id(), "phase": "collecting", "round": 1, "rounds": 2,
            "why": "waiting", "clients": [],
        }  # fmt: skip
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folder.live_file.write_text(json.dumps({"status": f"127.0.0.1:{server.server_port}"}))
        servers.append(server)

    yield answer
    for server in servers:
        server.shutdown()
        server.server_close()


def new_run(runs, name):
    """Make the folder of a run with an empty journal."""
    folder = create(runs, name, {"name": name, "rounds": 7}, "0")
    Journal.writing(folder.journal_file).close()
    return folder


def status_said(capsys, home):
    """Return what `antiphon status --json` says without a run."""
    show_status(None, Console(file=io.StringIO()), as_json=True, home=home)
    return json.loads(capsys.readouterr().out)


def test_the_run_at_work_is_shown_rather_than_the_newest(tmp_path, monkeypatch, capsys, answering):
    """A folder that was made later hides it no more."""
    monkeypatch.chdir(tmp_path)
    answering(new_run(tmp_path / "runs", "old"))
    new_run(tmp_path / "runs", "newer")

    assert status_said(capsys, tmp_path / "home")["run_id"] == "old"


def test_several_runs_at_work_are_all_shown(tmp_path, monkeypatch, capsys, answering):
    """Each coordinator that answers is in the list."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        answering(new_run(tmp_path / "runs", name))

    said = status_said(capsys, tmp_path / "home")["runs"]

    assert [each["run_id"] for each in said] == ["one", "two"]


def test_a_run_elsewhere_is_found_by_its_fleet(tmp_path, monkeypatch, capsys, answering):
    """The coordinator notes in the fleet's folder where its run lies."""
    monkeypatch.chdir(tmp_path)
    folder = new_run(tmp_path / "elsewhere", "far")
    answering(folder)
    (tmp_path / "home" / "fleet").mkdir(parents=True)

    with occupied(tmp_path / "home" / "fleet") as note_run:
        note_run(folder.path)

    assert status_said(capsys, tmp_path / "home")["run_id"] == "far"


def test_a_second_coordinator_on_a_fleet_is_refused(tmp_path):
    """It is told who has it; afterwards the fleet is free."""
    with occupied(tmp_path) as note_run:
        note_run(tmp_path / "runs" / "first")
        with pytest.raises(UserError, match=f"pid {os.getpid()}"):
            occupied(tmp_path).__enter__()

    with occupied(tmp_path):
        assert run_at_work(tmp_path) == tmp_path / "runs" / "first"


def test_a_new_run_has_the_rounds_of_its_config(tmp_path, capsys):
    """Before its first client it has begun none of them."""
    show_status(new_run(tmp_path, "run").path, Console(file=io.StringIO()), as_json=True)

    status = json.loads(capsys.readouterr().out)
    assert (status["phase"], status["rounds"]) == ("new", 7)


def test_who_takes_no_part_is_told(folder):
    """From the journal, with the sentence of each code."""
    with Journal.writing(folder.journal_file) as journal:
        journal.append(ClientDeclined("west", ("policy.method",)), 1.0)
        journal.append(ClientRevoked("south"), 1.0)
    told = io.StringIO()

    show_status(folder.path, Console(file=told, width=120), as_json=False)

    lines = told.getvalue().splitlines()
    assert [line for line in lines if line.startswith("south is revoked")]
    assert [line for line in lines if "west declines" in line and "the run's method" in line]
