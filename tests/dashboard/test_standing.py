"""Whether anything is at work on a run, and what it says."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.reading import Stamp
from antiphon.dashboard.standing import RECENT_S, asked, life_of

LONG_AGO = Stamp((1, 1), 100, changed_at=0.0)
NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("stamp", "end", "life"),
    [
        (None, None, "empty"),
        (LONG_AGO, None, "interrupted"),
        (LONG_AGO, (True, ""), "complete"),
        (LONG_AGO, (False, "enough"), "stopped"),
        (Stamp((1, 1), 100, NOW - RECENT_S / 2), None, "running"),
    ],
)
def test_a_run_has_a_state(tmp_path, stamp, end, life):
    """A run is over, or somebody wrote its journal a moment ago, or it was interrupted."""
    assert life_of(RunFolder(tmp_path), stamp, end, NOW) == life


def test_a_quiet_run_is_running_while_its_writer_is_there(tmp_path):
    """The process that holds the journal is looked for."""
    (tmp_path / "journal.sqlite.lock").write_text(str(os.getpid()))

    assert life_of(RunFolder(tmp_path), LONG_AGO, None, NOW) == "running"


class Coordinator(BaseHTTPRequestHandler):
    """Answers /status of the run `run`."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        told = {"run_id": "run", "why": "because", "healthy": True, "clients": [{"name": "a"}]}
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def live_folder(tmp_path):
    """A run's folder whose coordinator answers."""
    server = HTTPServer(("127.0.0.1", 0), Coordinator)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    folder = RunFolder(tmp_path)
    folder.live_file.write_text(json.dumps({"status": f"127.0.0.1:{server.server_port}"}))
    yield folder
    server.shutdown()
    server.server_close()


def test_a_coordinator_at_work_is_asked(live_folder):
    """What it says itself is taken, for it knows more than the journal."""
    live = asked(live_folder, "run")

    assert live is not None
    assert (live.why, live.clients) == ("because", ({"name": "a"},))


def test_an_answer_about_another_run_is_not_taken(live_folder):
    """A port may belong to another coordinator by now."""
    assert asked(live_folder, "another") is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"status": "127.0.0.1:1"}', '{"status": 3}'])
def test_no_coordinator_is_no_error(tmp_path, content):
    """A live.json that was left behind, or holds anything else, means that nobody answers."""
    (tmp_path / "live.json").write_text(content)

    assert asked(RunFolder(tmp_path), "run") is None
