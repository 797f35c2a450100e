"""`antiphon client status`: how a site stands, from what lies in its home folder."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.client.daemon.scripted import CONFIG

from antiphon.cli.site_status import daemon_pid, said, standing
from antiphon.client.daemon.consent import OwnerDecision, decide
from antiphon.client.daemon.contact import Contact
from antiphon.client.daemon.known_runs import KnownRuns
from antiphon.client.daemon.metrics import Metrics, serve_metrics
from antiphon.client.daemon.open_run import open_run
from antiphon.client.daemon.outbox import Outbox, Queued
from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.entries import Conclusion, Sending
from antiphon.client.sent.ledger import SentLedger, file_of
from antiphon.core.clock import VirtualClock
from antiphon.core.home import private_folder
from antiphon.v1.coordinator_pb2 import HelloResponse

NOON = datetime(2026, 3, 2, 12, 0)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site that refused a run, has an update in its outbox, and told things yesterday and today."""
    config = {
        "method": "lora",
        "model": {"model_name_or_path": "m"},
        "training": CONFIG["training"],
    }
    run = open_run(HelloResponse(run_id="ward", config=json.dumps(config).encode()))
    KnownRuns(tmp_path).note(run, NOON.timestamp(), "declined", ("policy.refused",))
    decide(tmp_path, "ward", OwnerDecision("refused", run.digest, 1e9))
    outbox = Outbox(tmp_path / "outbox")
    outbox.add(Queued("ward", 3, b"update", None), None)
    outbox.close()
    clock = VirtualClock(NOON.timestamp() - 86_400)
    ledger = SentLedger(sent_folder(tmp_path), clock.now)
    ledger.add(Sending("hub:1", "join", "Join", "ward", bytes=100))
    clock.advance_to(NOON.timestamp() - 60)
    number = ledger.add(Sending("hub:1", "update", "SubmitUpdate", "ward", 3, 300, "ab" * 32))
    ledger.add(Conclusion(number, "late", 300))
    return tmp_path


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[None]:
    """A daemon that holds the home of this process."""
    with (private_folder(tmp_path) / "daemon.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def test_runs_outbox_and_what_left_today(site: Path) -> None:
    """The run with the owner's word, what waits, and of the ledger what is of this day."""
    told = standing(site, site / "client.yaml", NOON)

    (run,) = told["runs"]
    assert (run["run"], run["standing"], run["decided"]) == ("ward", "declined", "refused")
    assert told["outbox"] == [{"run": "ward", "round": 3, "bytes": 6}]
    assert told["sent_today"] == {"update": {"messages": 1, "bytes": 300}}
    assert told["daemon"] is None


def test_status_changes_nothing(site: Path) -> None:
    """What another process has in hand is left as it is: a file of a blob without its entry too."""
    blob = site / "outbox" / "blobs" / "half-way"
    blob.write_bytes(b"tensors")

    standing(site, site / "client.yaml", NOON)

    assert blob.exists()


def test_a_daemon_at_work_is_seen(tmp_path: Path, at_work: None) -> None:
    """By its lock, with its process; a file of one that has died is none."""
    alive = daemon_pid(tmp_path)
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "daemon.lock").write_text("1\n")

    assert (alive, daemon_pid(tmp_path / "dead"), daemon_pid(tmp_path / "none")) == (
        os.getpid(),
        None,
        None,
    )


def test_last_contact_is_written_down(tmp_path: Path) -> None:
    """Every few seconds at most, for its owner only."""
    clock = VirtualClock(100.0)
    metrics = Metrics(heard=Contact(tmp_path, clock.now).heard)

    metrics.contact()
    os.utime(tmp_path / "contact", (1e9, 1e9))
    metrics.contact()

    told = standing(tmp_path, tmp_path / "client.yaml", NOON)
    assert told["last_contact"] == 1e9
    clock.advance_to(106.0)
    metrics.contact()
    assert (tmp_path / "contact").stat().st_mtime > 1e9


def test_tasks_come_from_the_metrics(tmp_path: Path, at_work: None) -> None:
    """Where the daemon serves its counters on this machine, its tasks are told."""
    metrics = Metrics()
    metrics.tasks.labels("train", "done").inc(3)
    pages = serve_metrics("127.0.0.1:0", metrics.registry)
    settings = {"data": {"dataset": "ours"}, "metrics": f"127.0.0.1:{pages.port}"}
    (tmp_path / "client.yaml").write_text(json.dumps(settings))

    told = standing(tmp_path, tmp_path / "client.yaml", NOON)
    pages.close()

    assert told["tasks"] == {"train done": 3}


def test_a_damaged_ledger_is_a_problem_that_is_told(site: Path) -> None:
    """The rest of the status is there all the same."""
    file = file_of(sent_folder(site), 1)
    file.write_bytes(file.read_bytes().replace(b"300", b"200"))

    told = standing(site, site / "client.yaml", NOON)

    assert [each for each in said(told) if "line 2 of the ledger" in each]
    assert told["runs"]
