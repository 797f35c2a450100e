"""Rounds that do not wait, over letters: who is late counts later, and who never answers is alone in it."""

from __future__ import annotations

import math

import pytest
from safetensors.numpy import load_file
from tests.simulation.flower_nodes import Driven, MemoryPost, drive, only

from antiphon.core.events import ClientFailed, RoundEvaluated, RoundPlanned, UpdateReceived
from antiphon.simulation.flower.letters import Letter, NodeReply, Parcel

NAMES = {11: "ada", 12: "bob", 13: "cyd"}
BEGAN = 1000.0


@pytest.fixture
def config(tiny_config):
    return tiny_config(
        "lora.r=2",
        "rounds=4",
        "aggregation=factors",
        "cohort.quorum=1",
        "cohort.deadline_s=60",
        "cohort.asynchronous={buffer: 2, max_staleness: 2}",
        "evaluation.deadline_s=30",
    )


def bobs_first_arrives_in(post: MemoryPost, number: int) -> None:
    """Hold back bob's update of round 1 until ada is at work in another round."""
    held: list[tuple[Letter, NodeReply]] = []

    def answering(letter: Letter, answer: Parcel) -> NodeReply | None:
        training = letter.kind == "train"
        if training and (letter.client, letter.round) == ("bob", 1):
            held.append((letter, answer))
            return None
        if training and (letter.client, letter.round) == ("ada", number):
            post.late += held
            held.clear()
        return answer

    post.answering = answering


def bob_hangs(letter: Letter, answer: Parcel) -> NodeReply | None:
    """Let bob answer nothing any more from his first training on."""
    return None if letter.client == "bob" and letter.round >= 1 else answer


def received(run: Driven, client: str) -> list[int]:
    return [each.round for each in run.of(UpdateReceived) if each.client == client]


def waits(post: MemoryPost) -> tuple[Driven, float]:
    """Drive a run; return it, and how long it took, seconds of virtual time."""
    moments = [BEGAN]
    run = drive(post, on_wait=moments.append)
    return run, moments[-1] - BEGAN


def moved_by(run: Driven, number: int) -> float:
    """Return how far a round has moved B, whose every element each honest update moves by 0.01."""
    files = [
        run.folder.adapter(each) / "adapter_model.safetensors" for each in (number - 1, number)
    ]
    before, after = (load_file(each) for each in files)
    (name,) = (each for each in after if "lora_B" in each)
    return float((after[name] - before[name]).mean())


def test_a_late_update_is_folded_with_its_staleness(config):
    """Bob's work of round 1 is half of the fold of round 3, and counts as two rounds old."""
    post = MemoryPost(config, NAMES)
    bobs_first_arrives_in(post, 2)

    run = drive(post)

    assert (run.finish.complete, received(run, "bob")[0]) == (True, 1)
    assert moved_by(run, 2) == pytest.approx(0.01)
    assert moved_by(run, 3) == pytest.approx(0.01 * (1 + 1 / math.sqrt(3)) / 2)


def test_an_update_that_is_too_stale_is_dropped(config):
    """After max_staleness rounds its client has been given new work, and the old is forgotten."""
    post = MemoryPost(config, NAMES)
    bobs_first_arrives_in(post, 4)

    run = drive(post)

    plans = [each.round for each in run.of(RoundPlanned) if "bob" in each.cohort]
    assert (run.finish.complete, plans, received(run, "bob")) == (True, [1, 4], [4])


def test_a_silent_node_costs_its_client_only(config):
    """The others' rounds are folded and measured without a wait, to the last one."""
    run, took = waits(MemoryPost(config, NAMES, bob_hangs))

    assert (run.finish.complete, received(run, "bob")) == (True, [])
    assert received(run, "ada") == received(run, "cyd") == [1, 2, 3, 4]
    assert len(run.of(RoundEvaluated)) == 5
    assert took < 5


def test_who_is_at_work_is_not_asked_to_measure(config):
    """A node does one thing at a time: a measurement would wait behind the training."""
    post = MemoryPost(config, NAMES, bob_hangs)

    drive(post)

    asked = [(each.client, each.round) for each in post.sent if each.kind == "evaluate"]
    assert [number for client, number in asked if client == "bob"] == [0]
    assert [number for client, number in asked if client == "ada"] == [0, 1, 2, 3, 4]


def test_a_node_that_fails_costs_its_client_only(config):
    """It is asked again in the next round, beside the others."""
    run, took = waits(MemoryPost(config, NAMES, only("bob", "train", lambda *_: "no memory")))

    assert {each.client for each in run.of(ClientFailed)} == {"bob"}
    assert received(run, "ada") == [1, 2, 3, 4]
    assert (run.finish.complete, took < 5) == (True, True)
