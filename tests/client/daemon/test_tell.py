"""A site tells a coordinator as much of itself as its owner wants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.daemon.stage import OURS, Stage, evaluate_task, over, run_to_the_end, train_task

from antiphon.client.daemon.settings import ClientSettings
from antiphon.client.daemon.tell import Tell, rounded, told_capabilities, told_update
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

HIDDEN = {"examples": "hidden", "hardware": False, "training_metrics": False, "scores": False}


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        (0, 0),
        (1, 1),
        (9, 1),
        (10, 10),
        (63, 60),
        (99, 90),
        (137, 130),
        (1299, 1200),
        (98765, 98000),
    ],
)
def test_examples_are_rounded_down(examples: int, told: int) -> None:
    """Two digits, and tens."""
    assert rounded(examples) == told


@given(examples=st.integers(1, 10**12))
def test_rounding_keeps_what_weights_need(examples: int) -> None:
    """From ten on, nothing is claimed that is not there, and at most half of it is lost."""
    told = rounded(examples)

    assert 1 <= told <= examples
    assert examples < 10 or 2 * told > examples


def test_a_hidden_machine_tells_only_what_a_run_needs() -> None:
    """The version, and the draws by which the coordinator knows that directions agree."""
    whole = pb.Capabilities(
        antiphon_version="0.4",
        device_kind="cpu",
        device_name="Xeon",
        memory_bytes=7,
        cpu_cores=2,
        tokens_per_s=1.5,
        libraries={"torch": "2"},
        platform="Linux",
        golden={"rademacher": "ab"},
    )

    told = told_capabilities(Tell(hardware=False), whole)

    assert told == pb.Capabilities(antiphon_version="0.4", golden={"rademacher": "ab"})
    assert told_capabilities(Tell(), whole) == whole


def test_a_trainers_own_fields_do_not_leave() -> None:
    """What the message has no field for, in this version, is not sent."""
    update = update_pb2.Update(run_id="run", round=3, examples=137, steps=2, metrics={"loss": 1.0})
    extra = b"\xfa\x3f\x06SECRET"  # field 1023, a string

    told = told_update(Tell(training_metrics=False), update.SerializeToString() + extra)

    assert (
        told == update_pb2.Update(run_id="run", round=3, examples=130, steps=2).SerializeToString()
    )


def test_nothing_is_told_that_the_owner_hides(stage: Stage) -> None:
    """A run with everything hidden: the update leaves, and beside it not a count, a device or a score."""
    stage.settings = ClientSettings.model_validate({"data": OURS, "tell": HIDDEN})
    stage.script.give(train_task(stage.script))
    stage.script.give(evaluate_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (join,), (measured,) = stage.script.seen("Join"), stage.script.seen("SubmitEvaluation")
    update = update_pb2.Update.FromString(stage.script.updates[0])
    assert (join.examples, join.evaluation_examples, join.capabilities.device_kind) == (0, 0, "")
    assert (update.examples, dict(update.metrics), update.steps) == (0, {}, 2)
    assert (measured.examples, dict(measured.metrics)) == (0, {})
    assert stage.requests("evaluate") == []


def test_counts_agree_with_what_was_told_at_joining(stage: Stage) -> None:
    """The update counts what the site has joined with, rounded; the trainer said more."""
    stage.test(examples=137)
    stage.script.give(train_task(stage.script))
    stage.script.give(over())

    stage.play(run_to_the_end)

    (join,) = stage.script.seen("Join")
    assert join.examples == 130
    assert update_pb2.Update.FromString(stage.script.updates[0]).examples == 130
