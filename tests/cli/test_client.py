"""`antiphon client`: the daemon's command still, and what the owner of a site asks beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.client.daemon.scripted import CONFIG

from antiphon.client.daemon.consent import read_decisions
from antiphon.client.daemon.known_runs import KnownRun, KnownRuns
from antiphon.client.daemon.open_run import open_run
from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.entries import Conclusion, Sending
from antiphon.client.sent.ledger import SentLedger, file_of
from antiphon.core.home import client_folder
from antiphon.v1.coordinator_pb2 import HelloResponse

ANTIPHON = [sys.executable, "-c", "from antiphon.cli.main import main; main()"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A site from which something has left for two runs."""
    ledger = SentLedger(sent_folder(client_folder(tmp_path)), lambda: 1e9)
    for run in ("first", "second"):
        number = ledger.add(Sending("hub:1", "update", "SubmitUpdate", run, 3, 300, "ab" * 32))
        ledger.add(Conclusion(number, "accepted", 300))
    return tmp_path


def antiphon(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [*ANTIPHON, "client", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_sent_is_a_table(home: Path) -> None:
    """Each thing that left is a line: run, round, purpose, bytes and verdict."""
    told = antiphon("sent", "--home", home).stdout

    (line,) = [each for each in told.splitlines() if " first " in each]
    assert line.split()[2:] == ["first", "3", "update", "300", "accepted", "abababababab"]
    assert "2 messages, 600 bytes" in told


def test_sent_of_one_run_as_json(home: Path) -> None:
    """--run leaves the others out, --json gives every field; --home may stand before the command too."""
    told = antiphon("--home", home, "sent", "--run", "second", "--json").stdout

    (entry,) = json.loads(told)["sent"]
    assert (entry["run"], entry["round"], entry["bytes"]) == ("second", 3, 300)
    assert (entry["verdict"], entry["privacy"]) == ("accepted", None)


def test_verify_says_which_line(home: Path) -> None:
    """A ledger that is whole ends with 0 and its last hash; another with 1 and the line's number."""
    whole = antiphon("sent", "--verify", "--home", home)
    file = file_of(sent_folder(client_folder(home)), 1)
    file.write_bytes(file.read_bytes().replace(b"second", b"others"))

    broken = antiphon("sent", "--verify", "--home", home)

    assert (whole.returncode, "4 lines" in whole.stdout) == (0, True)
    assert (broken.returncode, "line 3 of the ledger" in broken.stdout) == (1, True)


def test_without_a_command_it_is_the_daemon(tmp_path: Path) -> None:
    """`antiphon client --config FILE` runs the daemon: here it misses its settings, and ends with 2."""
    done = antiphon("--home", tmp_path, "--config", tmp_path / "client.yaml", "--once")

    assert done.returncode == 2
    assert "client.yaml" in done.stderr


@pytest.fixture
def offered(tmp_path: Path) -> KnownRun:
    """A run that the site has been offered."""
    run = open_run(HelloResponse(run_id="ward", config=json.dumps(CONFIG).encode(), min_cohort=3))
    KnownRuns(client_folder(tmp_path)).note(run, 1e9, "declined", ("policy.approval",))
    return KnownRuns(client_folder(tmp_path)).named("ward")


@pytest.mark.parametrize(("command", "verdict"), [("approve", "approved"), ("refuse", "refused")])
def test_the_owner_decides(tmp_path: Path, offered: KnownRun, command: str, verdict: str) -> None:
    """The decision is written down with the digest of the config that the run has."""
    done = antiphon(command, "ward", "--home", tmp_path)

    decision = read_decisions(client_folder(tmp_path))["ward"]
    assert done.returncode == 0, done.stderr
    assert (decision.verdict, decision.digest) == (verdict, offered.digest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["other"], "there are ward"), (["ward", "--config", "0123"], "it has changed")],
)
def test_what_the_owner_has_not_read_is_not_approved(
    tmp_path: Path, offered: KnownRun, arguments: list[str], message: str
) -> None:
    """An unknown run, or another config than the one that was shown: nothing is written, code 2."""
    done = antiphon("approve", *arguments, "--home", tmp_path)

    assert (done.returncode, message in done.stderr) == (2, True)
    assert read_decisions(client_folder(tmp_path)) == {}
