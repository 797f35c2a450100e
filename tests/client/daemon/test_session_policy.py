"""A session does what the site's owner allows, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import datetime

import grpc
import pytest
from tests.client.daemon.scripted import Failure
from tests.client.daemon.stage import (
    Stage,
    over,
    run_to_the_end,
    train_task,
)

from antiphon.client.daemon.calls import NotAllowed
from antiphon.client.daemon.data_view import SiteData
from antiphon.client.daemon.open_run import Declined


def test_policy_declines_a_run(stage: Stage) -> None:
    """A run that the owner does not allow is not joined, and its model not loaded."""
    stage.policy(methods=["seeds"])

    async def body(stage: Stage) -> None:
        with pytest.raises(Declined, match="methods seeds, not lora"):
            await stage.session.run()

    stage.play(body)

    assert (stage.script.seen("Join"), stage.requests("prepare")) == ([], [])


def test_a_run_is_declined_with_every_reason(stage: Stage) -> None:
    """What else the owner forbids is said at once, and not after the first reason is mended."""
    stage.policy(methods=["seeds"], models=["another"], max_steps=1)
    stage.settings = stage.settings.model_copy(update={"data": SiteData(dataset="ours")})

    async def body(stage: Stage) -> None:
        with pytest.raises(Declined) as declined:
            await stage.session.run()
        assert declined.value.codes == (
            "policy.method",
            "policy.model",
            "policy.steps",
            "data.view",
        )

    stage.play(body)


def test_a_method_that_only_a_trainer_knows_keeps_to_the_policy(stage: Stage) -> None:
    """Its work is counted as the trainer says it, before the site joins."""
    stage.policy(max_steps=5)
    stage.test(work={"ours": {"steps": 6, "batch": 16, "accumulation": 1}})
    stage.script.config = {**stage.script.config, "method": "ours"}

    async def body(stage: Stage) -> None:
        with pytest.raises(Declined) as declined:
            await stage.session.run()
        assert declined.value.codes == ("policy.steps",)

    stage.play(body)

    assert stage.script.seen("Join") == []


def test_a_method_that_nobody_knows_is_declined(stage: Stage) -> None:
    """Where the trainer does not say what it would do, the site takes no part."""
    stage.script.config = {**stage.script.config, "method": "theirs"}

    async def body(stage: Stage) -> None:
        with pytest.raises(Declined) as declined:
            await stage.session.run()
        assert declined.value.codes == ("config.unknown",)

    stage.play(body)

    assert stage.script.seen("Join") == []


def test_policy_declines_a_task(stage: Stage) -> None:
    """A task that asks for more steps than the owner allows is reported, not done."""
    stage.policy(max_steps=5)
    stage.script.give(train_task(stage.script, steps=6))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (report,) = stage.script.seen("ReportFailure")
    assert (report.code, report.reason) == ("policy.steps", "")
    assert stage.requests("train") == []


def test_update_that_is_too_large_stays(stage: Stage) -> None:
    """An update above the owner's limit is not sent, and does not wait in the outbox."""
    stage.policy(max_upload_mb_per_round=0.1)
    stage.test(blob_bytes=100_001)
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (report,) = stage.script.seen("ReportFailure")
    assert report.code == "policy.upload_round"
    assert (stage.script.seen("SubmitUpdate"), stage.outbox().entries()) == ([], [])


def test_bytes_of_the_day_are_counted(stage: Stage) -> None:
    """What left the machine counts against the day's limit, and the next round is declined."""
    stage.policy(max_upload_mb_per_day=0.15)
    stage.test(blob_bytes=100_000)
    for number in (1, 2):
        stage.script.give(train_task(stage.script, number))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert stage.outbox().sent_on("2026-03-02") == 100_000
    assert stage.script.seen("ReportFailure")[0].code == "policy.upload_day"


@pytest.mark.parametrize("blob_bytes", [100_000, 0])
def test_an_update_that_may_not_leave_any_more_is_withheld(stage: Stage, blob_bytes: int) -> None:
    """One from before a restart, of a day whose limit is reached: it is asked for anew, and dropped."""
    stage.test(blob_bytes=blob_bytes)
    stage.script.failures["SubmitUpdate"].append(Failure(grpc.StatusCode.UNAUTHENTICATED))
    stage.script.give(train_task(stage.script))

    async def cut_off(stage: Stage) -> None:
        with pytest.raises(NotAllowed):
            await stage.session.run()
        outbox = stage.outbox()
        outbox.note_sent("2026-03-02", 1_000_000 - outbox.sent_on("2026-03-02"))
        outbox.close()

    stage.play(cut_off)
    stage.policy(max_upload_mb_per_day=1.0)
    stage.script.news = asyncio.Event()
    stage.script.give(over())
    stage.play(run_to_the_end)

    assert (stage.script.seen("Upload"), stage.script.updates) == ([], [])
    assert stage.outbox().entries() == []


def test_hours_end_the_membership(stage: Stage) -> None:
    """When the owner's hours are over, the session ends with the reason."""
    stage.policy(hours="08:00-18:00")

    async def body(stage: Stage) -> None:
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: stage.script.seen("NextTask"))
        stage.now = datetime(2026, 3, 2, 18, 0)
        with pytest.raises(Declined, match="08:00-18:00"):
            await running

    stage.script.lease_ms = 200
    stage.play(body)


def test_hopeless_run_is_not_loaded_again(stage: Stage) -> None:
    """A run that the trainer cannot load for good is declined from then on without another try."""
    stage.test(fail="prepare!")

    async def body(stage: Stage) -> None:
        for _ in range(2):
            with pytest.raises(Declined, match="as the test asked"):
                await stage.session.run()

    stage.play(body)

    assert len(stage.requests("prepare")) == 1


def test_a_task_of_too_many_passes_is_refused(stage: Stage) -> None:
    """An assignment is counted by its own steps, whatever the run has promised."""
    stage.script.give(train_task(stage.script, steps=101))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert [each.code for each in stage.script.seen("ReportFailure")] == ["policy.passes"]
    assert stage.requests("train") == []


def test_an_update_of_too_few_steps_stays(stage: Stage) -> None:
    """A training that was cut short is counted by the steps that it took: few draws tell of single rows."""
    stage.policy(max_example_share=0.03)
    stage.test(steps=2)
    stage.script.give(train_task(stage.script, steps=4))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert [each.code for each in stage.script.seen("ReportFailure")] == ["policy.share"]
    assert (stage.script.updates, stage.outbox().entries()) == ([], [])
