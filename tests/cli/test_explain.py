"""`antiphon client explain`: what a run would do at a site, before its owner lets it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.work_asked import asks

from antiphon.cli.explain import explained, said
from antiphon.cli.terminal import harmless
from antiphon.client.daemon.known_runs import KnownRun, KnownRuns
from antiphon.client.daemon.open_run import open_run
from antiphon.client.daemon.outbox import Outbox
from antiphon.client.daemon.settings import ClientSettings
from antiphon.core.config import resolved
from antiphon.v1.coordinator_pb2 import HelloResponse

NOON = datetime(2026, 3, 2, 12, 0)


@pytest.fixture
def run(tmp_path: Path, tiny_config: Any) -> KnownRun:
    """A run of the tiny model that the site has been offered."""
    config = json.dumps(resolved(tiny_config())).encode()
    offered = open_run(
        HelloResponse(run_id="ward; ls", config=config, min_cohort=3, asks=asks(json.loads(config)))
    )
    known = KnownRuns(tmp_path)
    known.note(offered, NOON.timestamp(), "declined", ("policy.approval",))
    return known.named(None)


@pytest.fixture
def settings(tmp_path: Path, tiny_config: Any) -> dict[str, Any]:
    """A site's settings: 60 rows, of them one broken, one long."""
    rows = [{"text": f"row {number}", "label": "dark"} for number in range(58)]
    rows.append({"text": "long " * 200, "label": "bright"})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "{broken\n")
    form = resolved(tiny_config())["data"]["format"]
    data = {"dataset": str(file), "format": form, "on_bad_rows": "skip", "eval_examples": 5}
    return {"data": data, "tell": {"hardware": False}, "policy": {"approve": "manual"}}


def explain(folder: Path, run: KnownRun, settings: dict[str, Any]) -> dict[str, Any]:
    """What the command would print as JSON."""
    return explained(folder, run, ClientSettings.model_validate(settings), NOON)


def test_rows_are_counted_without_training(
    tmp_path: Path, run: KnownRun, settings: dict[str, Any]
) -> None:
    """How many are read, broken, trained on, held out, and how many lose tokens."""
    rows = explain(tmp_path, run, settings)["rows"]

    assert (rows["read"], rows["skipped"], rows["evaluation"]) == (60, 1, 5)
    assert (rows["train"], rows["left_out"], rows["cut"]) == (54, 0, 1)
    assert "the first broken row" in rows["advice"][0]


def test_costs_are_those_of_the_run(
    tmp_path: Path, run: KnownRun, settings: dict[str, Any]
) -> None:
    """Bytes of a round, and of all its rounds."""
    told = explain(tmp_path, run, settings)

    assert told["costs"]["bytes_up"] > 0
    assert told["bytes"]["up"] == 2 * told["costs"]["bytes_up"]
    assert (told["model"], told["method"], told["steps"], told["min_cohort"]) == (
        "tiny",
        "lora",
        2,
        3,
    )


def test_what_is_learnt_is_what_the_owner_tells(
    tmp_path: Path, run: KnownRun, settings: dict[str, Any]
) -> None:
    """Numbers as they would be told, the hardware only where it is."""
    joining = dict(explain(tmp_path, run, settings)["learns"])["when it joins"]

    assert "training examples: 50 (54 here)" in joining
    assert "not the machine" in joining


def test_every_reason_against_it_is_named(
    tmp_path: Path, run: KnownRun, settings: dict[str, Any]
) -> None:
    """What the policy forbids, the bytes of a round, the day's, and the owner's word: all at once."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.note_sent("2026-03-02", 2_000_000)
    outbox.close()
    policy = {"methods": ["seeds"], "max_upload_mb_per_day": 1, "max_upload_mb_per_round": 0.0001}
    settings["policy"] |= policy

    told = explain(tmp_path, run, settings)["declines"]

    assert [each["code"] for each in told] == [
        "policy.method",
        "policy.upload_round",
        "policy.upload_day",
        "policy.approval",
    ]


def test_what_is_not_here_is_not_fetched(
    tmp_path: Path, run: KnownRun, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is missing leaves the bytes open and says how it comes; rows are counted."""
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))
    config = {**run.config, "model": {**run.config["model"], "model_name_or_path": "smollm2-135m"}}

    told = explain(tmp_path, KnownRun(**{**vars(run), "config": config}), settings)

    assert (told["costs"], told["rows"]["cut"]) == (None, None)
    assert "`antiphon fetch smollm2-135m` brings it" in told["problems"][0]
    assert not (tmp_path / "cache").exists()


def test_rows_that_do_not_fit_are_said_here(
    tmp_path: Path, run: KnownRun, settings: dict[str, Any]
) -> None:
    """What a trainer would stop at is shown to the owner, with the row."""
    settings["data"]["on_bad_rows"] = "fail"

    told = explain(tmp_path, run, settings)

    assert told["rows"] is None
    assert "rows.jsonl:60" in told["problems"][0]


def test_it_ends_with_the_command(tmp_path: Path, run: KnownRun, settings: dict[str, Any]) -> None:
    """The line to paste names the config that was shown, and quotes the run's name."""
    lines = list(said(explain(tmp_path, run, settings)))

    last = lines[-1]
    assert [each for each in lines if each and not each.isprintable()] == []
    assert f"antiphon client approve 'ward; ls' --config {run.digest[:12]}" in last


def test_a_peers_words_cannot_hide_a_line() -> None:
    """What a terminal would act on is replaced, and no markup is read out of it."""
    shown = harmless("[red]run\x1b[2K\r")

    assert shown == "\\[red]run\ufffd[2K\ufffd"
