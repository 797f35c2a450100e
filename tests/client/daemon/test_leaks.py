"""No word of a site's own reaches a coordinator, whatever goes wrong there and whatever the run asks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.client.daemon.stage import Stage, evaluate_task, over, run_to_the_end, train_task

from antiphon.client.daemon.data_view import SiteData
from antiphon.client.daemon.open_run import Declined
from antiphon.client.daemon.settings import ClientSettings
from antiphon.core.config import resolved

MARK = "SECRET-DIAGNOSIS"
WORKER = [sys.executable, "-m", "antiphon.client.worker_process"]
TEXT = {"kind": "text"}
CHOICE = {"kind": "classification", "template": "{text} is", "verbalizers": {"a": " a", "b": " b"}}
HOSTILE: list[dict[str, Any]] = [
    {"filter": {f"{MARK}-field": [1, 2]}, "format": TEXT},
    {"filter": {"nothing": 1}, "format": TEXT},
    {"format": TEXT},
    {"format": {**CHOICE, "text": f"{MARK}-field", "label": "label"}, "on_bad_rows": "skip"},
    {"format": {"kind": "messages"}},
    {"format": {"kind": "text"}, "eval_examples": 10_000},
]


def told(stage: Stage) -> bytes:
    """Everything that has left the site, as bytes."""
    return b"".join(request.SerializeToString() for _, request in stage.script.calls)


@pytest.mark.parametrize(
    ("said", "told_code"),
    [
        ("machine.memory", "machine.memory"),
        ("policy.method", "trainer.failed"),
        (MARK, "trainer.failed"),
    ],
)
def test_a_trainer_that_fails_is_heard_as_a_code(stage: Stage, said: str, told_code: str) -> None:
    """The code that it gives, if it is one that a trainer may give; for a training and for a run."""
    stage.test(fail="train", code=said)
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert [each.code for each in stage.script.seen("ReportFailure")] == [told_code]


def test_a_run_that_cannot_be_prepared_is_declined_with_the_trainers_code(stage: Stage) -> None:
    """The second time, too, when the trainer is not asked again."""
    stage.test(fail="prepare!", code="data.row")

    async def body(stage: Stage) -> None:
        for _ in range(2):
            with pytest.raises(Declined) as declined:
                await stage.session.run()
            assert declined.value.codes == ("data.row",)

    stage.play(body)

    assert len(stage.requests("prepare")) == 1


@pytest.mark.parametrize(("kind", "task"), [("train", train_task), ("evaluate", evaluate_task)])
def test_why_a_task_failed_stays_at_the_site(
    stage: Stage, kind: str, task: Callable[..., Any]
) -> None:
    """The trainer's words are logged; the coordinator gets a code."""
    stage.test(fail=kind)
    stage.script.give(task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert stage.script.seen("ReportFailure")[0].code == "trainer.failed"
    assert b"as the test asked" not in told(stage)


@pytest.mark.slow
def test_rows_cannot_be_read_through_errors(stage: Stage, tiny_config: Any) -> None:
    """Filters and formats that fit no row, with a bad row in the data: not a value, a field or a path."""
    rows = stage.folder / f"{MARK}-rows.jsonl"
    row = {f"{MARK}-field": f"{MARK}-3", "label": f"{MARK}-label"}
    rows.write_text(f"{json.dumps(row)}\n{{ {MARK} broken\n")
    accepted = SiteData(dataset=str(rows), accept=["format", "eval_examples"])
    stage.settings = ClientSettings(data=accepted)
    stage.command, stage.environment = WORKER, {"HOME": os.environ["HOME"], MARK: MARK}
    config = resolved(tiny_config())

    async def body(stage: Stage) -> None:
        for data in HOSTILE:
            stage.script.config = {**config, "data": {**config["data"], **data}}
            with pytest.raises(Declined) as declined:
                await stage.session.run()
            await stage.link.leave("", declined.value.codes)

    stage.play(body)

    assert len(stage.script.seen("Leave")) == len(HOSTILE)
    assert MARK.encode() not in told(stage)
    assert stage.script.seen("Join") == []
