"""A model that a client makes itself: of the one that it holds and a change, or from the seed."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from tests.client.daemon.scripted import Failure, proto
from tests.client.daemon.stage import Stage, evaluate_task, over, run_to_the_end, train_task

from antiphon.core.blob import Blob, blob_of
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

GONE = grpc.StatusCode.NOT_FOUND
FIRST = b"the first model " * 100
CHANGE = b"a change"
SECOND = FIRST + CHANGE


def change_of(since: bytes, change: Blob) -> update_pb2.ModelChange:
    """The way from one model to another."""
    return update_pb2.ModelChange(
        since=bytes.fromhex(blob_of(since, "").sha256), blob=proto(change)
    )


def task(stage: Stage, number: int, content: bytes, change: Any = None) -> pb.NextTaskResponse:
    """An assignment from a model, to which there may be another way."""
    return train_task(stage.script, number, model=proto(stage.script.model(content)), change=change)


def two_rounds(stage: Stage, change: bytes = CHANGE, model: bytes = SECOND) -> None:
    """Two assignments, the second with a change since the model of the first."""
    way = change_of(FIRST, stage.script.model(change))
    stage.script.give(task(stage, 1, FIRST))
    stage.script.give(task(stage, 2, model, way))
    stage.script.give(over())


def fetched(stage: Stage) -> list[bytes]:
    """The contents that were asked for, in their order."""
    return [stage.script.models[each.sha256.hex()] for each in stage.script.seen("Download")]


def models(stage: Stage) -> list[bytes]:
    """What lies in the folder of models."""
    return [each.read_bytes() for each in (stage.folder / "work" / "models").iterdir()]


def test_who_holds_the_model_before_fetches_the_change(stage: Stage) -> None:
    """And trains from the model that it has made; the one before is removed."""
    two_rounds(stage)

    stage.play(run_to_the_end)

    assert fetched(stage) == [FIRST, CHANGE]
    assert models(stage) == [SECOND]
    assert len(stage.script.updates) == 2


def test_who_does_not_hold_it_fetches_the_model(stage: Stage) -> None:
    """A late joiner asks for no change."""
    way = change_of(FIRST, stage.script.model(CHANGE))
    stage.script.give(task(stage, 2, SECOND, way))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert fetched(stage) == [SECOND]
    assert stage.requests("rebuild") == []


def test_the_untouched_model_is_not_fetched(stage: Stage) -> None:
    """It follows from the seed."""
    stage.script.give(task(stage, 1, b"untouched", update_pb2.ModelChange()))
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert fetched(stage) == []
    assert models(stage) == [b"untouched"]


def test_another_hash_means_the_whole_model(stage: Stage) -> None:
    """What was made is another model: it counts for nothing, and the next change is not tried."""
    two_rounds(stage, model=FIRST + b"as large")
    stage.script.tasks.pop()
    third = FIRST + b"as large" + CHANGE
    stage.script.give(
        task(stage, 3, third, change_of(FIRST + b"as large", stage.script.model(CHANGE)))
    )
    stage.script.give(over())

    stage.play(run_to_the_end)

    assert fetched(stage) == [FIRST, CHANGE, FIRST + b"as large", third]
    assert models(stage) == [third]
    assert len(stage.script.updates) == 3


def test_a_trainer_that_makes_none_is_no_harm(stage: Stage) -> None:
    """The model is fetched, the round goes on."""
    stage.test(fail="rebuild")
    two_rounds(stage)

    stage.play(run_to_the_end)

    assert fetched(stage) == [FIRST, CHANGE, SECOND]
    assert stage.script.seen("ReportFailure") == []


def test_a_change_as_large_as_its_model_is_not_fetched(stage: Stage) -> None:
    """It would save nothing."""
    two_rounds(stage, change=bytes(len(SECOND)))

    stage.play(run_to_the_end)

    assert fetched(stage) == [FIRST, SECOND]


def test_a_change_larger_than_the_run_is_not_fetched(stage: Stage) -> None:
    """A coordinator that says that its model is larger still gets neither."""
    two_rounds(stage, change=bytes(2 << 20), model=bytes(3 << 20))

    stage.play(run_to_the_end)

    assert fetched(stage) == [FIRST]
    assert [each.code for each in stage.script.seen("ReportFailure")] == ["model.download"]


def test_a_change_that_is_gone_means_the_whole_model(stage: Stage) -> None:
    """The coordinator may have removed it meanwhile; the next change is tried again."""
    two_rounds(stage)
    stage.script.tasks.pop()
    stage.script.give(
        task(stage, 3, SECOND + CHANGE, change_of(SECOND, stage.script.model(CHANGE)))
    )
    stage.script.give(over())
    download = stage.script.Download

    async def without_the_change(request: Any, context: Any) -> Any:
        if len(stage.script.seen("Download")) == 1:
            stage.script.failures["Download"].append(Failure(GONE))
        async for chunk in download(request, context):
            yield chunk

    stage.script.Download = without_the_change  # type: ignore[method-assign]
    stage.play(run_to_the_end)

    assert fetched(stage) == [FIRST, CHANGE, SECOND, CHANGE]
    assert models(stage) == [SECOND + CHANGE]


def test_a_model_is_measured_by_its_change_too(stage: Stage) -> None:
    """And is not fetched again for the assignment after it."""
    way = change_of(FIRST, stage.script.model(CHANGE))
    measuring = evaluate_task(stage.script, 1)
    measuring.evaluate.model.CopyFrom(proto(stage.script.model(SECOND)))
    measuring.evaluate.change.CopyFrom(way)
    for each in (task(stage, 1, FIRST), measuring, task(stage, 2, SECOND, way), over()):
        stage.script.give(each)

    stage.play(run_to_the_end)

    assert fetched(stage) == [FIRST, CHANGE]
    assert len(stage.script.seen("SubmitEvaluation")) == 1


@pytest.mark.parametrize("torn", [False, True])
def test_after_a_restart_a_model_counts_with_its_hash_alone(stage: Stage, torn: bool) -> None:
    """A whole one is added to; one that the disk has torn is not."""
    stage.script.give(task(stage, 1, FIRST))
    stage.script.give(over())
    stage.play(run_to_the_end)
    if torn:
        (file,) = (stage.folder / "work" / "models").iterdir()
        file.write_bytes(FIRST[:-1])
    stage.script.news = asyncio.Event()

    stage.script.give(task(stage, 2, SECOND, change_of(FIRST, stage.script.model(CHANGE))))
    stage.script.give(over())
    stage.play(run_to_the_end)

    assert fetched(stage) == [FIRST, SECOND if torn else CHANGE]


@pytest.mark.parametrize(
    "change",
    [
        update_pb2.ModelChange(since=bytes(31), blob=update_pb2.Blob(sha256=bytes(32))),
        update_pb2.ModelChange(since=bytes(32)),
        update_pb2.ModelChange(blob=update_pb2.Blob(sha256=bytes(32))),
        update_pb2.ModelChange(since=bytes(32), blob=update_pb2.Blob(sha256=b"x")),
    ],
)
def test_half_a_change_cannot_be_read(stage: Stage, change: update_pb2.ModelChange) -> None:
    """Neither of an assignment nor of a model to be measured; nothing is fetched."""
    measuring = evaluate_task(stage.script, 1)
    measuring.evaluate.change.CopyFrom(change)
    for each in (task(stage, 1, FIRST, change), measuring, over()):
        stage.script.give(each)

    stage.play(run_to_the_end)

    assert [each.code for each in stage.script.seen("ReportFailure")] == ["task.unreadable"] * 2
    assert stage.script.seen("Download") == []
