"""A session takes part in a run as the coordinator says."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tests.client.daemon.scripted import CONFIG, RUN, Failure
from tests.client.daemon.stage import (
    Stage,
    evaluate_task,
    over,
    run_to_the_end,
    train_task,
)

from antiphon.client.daemon.calls import StartOver
from antiphon.v1 import update_pb2


def test_rounds_and_evaluations_to_the_end(stage: Stage) -> None:
    """Two rounds with an evaluation each are trained, uploaded, handed in and measured."""
    for number in (1, 2):
        stage.script.give(train_task(stage.script, number))
        stage.script.give(evaluate_task(stage.script, number))
    stage.script.give(over())

    stage.play(run_to_the_end)

    rounds = [update_pb2.Update.FromString(update).round for update in stage.script.updates]
    measured = [(each.round, each.examples) for each in stage.script.seen("SubmitEvaluation")]
    assert (rounds, measured) == ([1, 2], [(1, 20), (2, 20)])
    assert stage.outbox().entries() == []


def test_trainer_gets_this_sites_data(stage: Stage) -> None:
    """The trainer is prepared with the coordinator's config, the site's own data in place of the run's."""
    stage.script.give(over())

    stage.play(run_to_the_end)

    (asked,) = stage.requests("prepare")
    assert asked["client"] == "edge"
    assert asked["data"] == {
        "dataset": "ours",
        "format": {"kind": "text"},
        "filter": {},
        "on_bad_rows": "fail",
        "eval_examples": None,
        "max_train_examples": None,
    }
    assert asked["config"] == {key: value for key, value in CONFIG.items() if key != "data"}


def test_scalars_need_no_upload(stage: Stage) -> None:
    """An update without a blob is handed in in one call."""
    stage.test(blob_bytes=0)
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert len(stage.script.updates) == 1
    assert stage.script.seen("UploadStatus") == []


def test_training_is_given_the_time_that_is_left(stage: Stage) -> None:
    """The trainer's time is the round's, less what the transfers need."""
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (asked,) = stage.requests("train")
    assert 50 < asked["seconds"] < 59.5


def test_model_is_fetched_once(stage: Stage) -> None:
    """A model that the last task had is not downloaded again, and an old one does not stay."""
    first, second = train_task(stage.script, 1), train_task(stage.script, 2)
    for task in (
        first,
        evaluate_task(stage.script),
        evaluate_task(stage.script, 2),
        second,
        over(),
    ):
        stage.script.give(task)

    stage.play(run_to_the_end)

    assert len(stage.script.seen("Download")) == 3
    assert len(list((stage.folder / "work" / "models").iterdir())) == 1


def test_lease_is_kept_while_training(stage: Stage) -> None:
    """A task that takes longer than the lease is said to be in hand, with the steps done."""
    stage.script.lease_ms = 300
    stage.test(steps=8, step_s=0.1)
    stage.script.give(train_task(stage.script, 7))
    stage.script.give(over())

    stage.play(run_to_the_end)

    busy = [each for each in stage.script.seen("NextTask") if each.working_on_round == 7]
    assert len(busy) >= 4
    assert max(each.steps_done for each in busy) >= 4


def test_cancelled_task_is_given_up(stage: Stage) -> None:
    """A task that the coordinator takes back ends in mid-training, and the next one is done."""
    stage.test(steps=100, step_s=0.05)
    stage.script.cancelled[1] = "the round has closed"
    for task in (train_task(stage.script, 1), evaluate_task(stage.script), over()):
        stage.script.give(task)

    stage.play(run_to_the_end)

    assert (stage.script.updates, len(stage.script.seen("SubmitEvaluation"))) == ([], 1)


def test_failed_training_is_reported(stage: Stage) -> None:
    """What the trainer cannot do is told to the coordinator, with the reason."""
    stage.test(fail="train")
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (report,) = stage.script.seen("ReportFailure")
    assert (report.round, report.evaluating, report.code) == (1, False, "trainer.failed")


def test_failed_evaluation_is_reported(stage: Stage) -> None:
    """A model that cannot be measured is told to the coordinator as such."""
    stage.test(fail="evaluate")
    stage.script.give(evaluate_task(stage.script, 0))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (report,) = stage.script.seen("ReportFailure")
    assert (report.round, report.evaluating) == (0, True)


def test_trainer_is_put_away_when_idle(stage: Stage) -> None:
    """Without a task for keep_warm_s the trainer's process ends; the next task starts another."""
    stage.settings = stage.settings.model_copy(update={"keep_warm_s": 0.2})

    async def body(stage: Stage) -> None:
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: len(stage.script.seen("NextTask")) >= 2)
        while stage.trainer.running:
            await stage.script.until(lambda: stage.script.news.is_set())
            stage.script.news.clear()
        stage.script.give(train_task(stage.script))
        stage.script.give(over())
        await running

    stage.script.lease_ms = 200
    stage.play(body)

    assert (len(stage.requests("prepare")), len(stage.script.updates)) == (2, 1)


def test_other_run_starts_over(stage: Stage) -> None:
    """A run that has changed under the session ends it, so that it begins with Hello again."""
    stage.script.failures["NextTask"].append(Failure(grpc.StatusCode.FAILED_PRECONDITION))

    async def body(stage: Stage) -> None:
        with pytest.raises(StartOver):
            await stage.session.run()

    stage.play(body)


def test_no_run_is_waited_for(stage: Stage) -> None:
    """While no run is open, the session asks again; then it takes part."""
    stage.script.run_id = ""

    async def body(stage: Stage) -> None:
        running = asyncio.create_task(stage.session.run())
        await stage.script.until(lambda: len(stage.script.seen("Hello")) >= 3)
        stage.script.run_id = RUN
        stage.script.give(over())
        finished = await running

        assert finished.run_id == RUN

    stage.play(body)


def test_model_is_checked_again_after_a_restart(stage: Stage) -> None:
    """A model on the disk counts after a restart only if it still has its hash."""
    for _ in range(2):
        stage.script.give(evaluate_task(stage.script))
        stage.script.give(over())
        stage.play(run_to_the_end)
        (model,) = (stage.folder / "work" / "models").iterdir()
        model.write_bytes(b"wrong")
        stage.script.news = asyncio.Event()

    assert [request.offset for request in stage.script.seen("Download")] == [0, 0]
