"""An update of a session reaches the coordinator once, whatever becomes of the answers."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tests.client.daemon.scripted import SUBMIT, Failure
from tests.client.daemon.stage import (
    Stage,
    evaluate_task,
    over,
    run_to_the_end,
    train_task,
)


def test_same_bytes_are_sent_until_they_are_answered(stage: Stage) -> None:
    """A reply that is lost costs a second sending of the same message, not a second training."""
    stage.script.failures["SubmitUpdate"].append(Failure(grpc.StatusCode.UNAVAILABLE))
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    sent = [each.update for each in stage.script.seen("SubmitUpdate")]
    assert (len(sent), len(set(sent)), len(stage.requests("train"))) == (3, 1, 1)


@pytest.mark.parametrize("verdict", ["DUPLICATE", "LATE", "REJECTED", "UNKNOWN"])
def test_any_final_answer_empties_the_outbox(stage: Stage, verdict: str) -> None:
    """Every verdict but UPLOAD_FIRST is final: the update is forgotten."""
    stage.script.verdicts.append(SUBMIT.Verdict.Value(verdict))
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert stage.outbox().entries() == []
    assert len(stage.script.seen("SubmitUpdate")) == 1


def test_update_survives_a_restart(stage: Stage) -> None:
    """An update whose answer never came is sent first by the next session, untrained."""
    stage.script.failures["SubmitUpdate"].append(Failure(grpc.StatusCode.UNAUTHENTICATED))
    stage.script.give(train_task(stage.script))

    async def refused(stage: Stage) -> None:
        with pytest.raises(Exception, match="as the test asked"):
            await stage.session.run()

    stage.play(refused)
    stage.script.news, stage.script.calls = asyncio.Event(), []
    stage.script.give(over())
    stage.play(run_to_the_end)

    order = [name for name, _ in stage.script.calls]
    assert order.index("SubmitUpdate") < order.index("Join")
    assert (len(stage.script.updates), len(stage.requests("train"))) == (1, 1)


def test_offer_of_an_answered_round_is_not_trained_again(stage: Stage) -> None:
    """A coordinator that is slow to take a task back does not make its client work twice."""
    task = train_task(stage.script)
    stage.script.give(task)
    stage.script.give(task)

    async def body(stage: Stage) -> None:
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: len(stage.script.seen("NextTask")) > 3)
        stage.script.cancelled[1] = "its update is there"
        stage.script.give(over())
        await running

    stage.play(body)

    assert len(stage.requests("train")) == 1


def test_update_without_an_answer_does_not_stop_the_client(stage: Stage) -> None:
    """A coordinator that fails on an update gets it again later; meanwhile other work is done."""
    stage.patience_s = 0.3
    stage.script.failures["SubmitUpdate"].extend([Failure(grpc.StatusCode.UNKNOWN)] * 1000)

    async def body(stage: Stage) -> None:
        stage.script.give(train_task(stage.script))
        stage.script.give(evaluate_task(stage.script))
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: stage.script.seen("SubmitEvaluation"))
        stage.script.failures.clear()
        await stage.script.until(lambda: stage.script.updates)
        stage.script.give(over())
        await running

    stage.play(body)

    assert len(stage.requests("train")) == 1
    assert stage.outbox().entries() == []
