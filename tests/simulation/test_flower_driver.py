"""The driver of runs over letters: whatever a node does costs its own client, and nobody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.simulation.flower_nodes import (
    EXAMPLES,
    SPACE,
    Driven,
    MemoryPost,
    drive,
    only,
    update_of,
)
from tests.strategies.served import sent as sent_delta

from antiphon.client.sender import Sender
from antiphon.core.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    Evaluated,
    RoundEvaluated,
    RoundFolded,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.run_sections import CompressionConfig
from antiphon.core.types import Update
from antiphon.core.wire import unpack_assignment
from antiphon.simulation.flower.letters import Letter, Parcel
from antiphon.v1 import update_pb2

NAMES = {11: "ada", 12: "bob", 13: "cyd"}


def other_shapes():
    return {name: np.zeros((5, 5), dtype=np.float32) for name in SPACE.factors}


def other_names():
    return {f"x.{name}": np.zeros(shape, np.float32) for name, shape in SPACE.factors.items()}


def not_a_number():
    return {name: np.full(shape, np.nan, np.float32) for name, shape in SPACE.factors.items()}


WRONG = {
    "an exception": (lambda letter, answer: "ValueError: no", "ValueError: no"),
    "no protobuf": (lambda letter, answer: Parcel(b"\xff\xff\xff"), "not a protobuf"),
    "nothing": (lambda letter, answer: Parcel(b""), "of round 0"),
    "its tensors lost": (lambda letter, answer: Parcel(answer.message), "not those"),
    "other tensors": (lambda letter, answer: Parcel(answer.message, b"zz"), "not those"),
    "other shapes": (lambda letter, answer: update_of(letter, tensors=other_shapes()), "5"),
    "other names": (lambda letter, answer: update_of(letter, tensors=other_names()), "x.m"),
    "not a number": (lambda letter, answer: update_of(letter, tensors=not_a_number()), "NaN"),
    "another round": (lambda letter, answer: update_of(letter, round=7), "of round 7"),
    "more examples": (lambda letter, answer: update_of(letter, examples=10**6), "counts 1000000"),
}


def as_asked(letter, answer):
    """Pack an update by the codec of its assignment; what it leaves out is lost."""
    if letter.kind != "train":
        return answer
    run_id = update_pb2.Assignment.FromString(letter.parcel.message).run_id
    assignment, _ = unpack_assignment(letter.parcel.message, letter.client, run_id)
    delta = {name: np.full(shape, 0.01, np.float32) for name, shape in SPACE.factors.items()}
    update = Update(letter.client, assignment.round, EXAMPLES, assignment.steps, sent_delta(delta))
    packed = Sender(Path(), CompressionConfig(error_feedback=False)).pack(
        update, assignment, run_id
    )
    return Parcel(packed.message, packed.joined)


@pytest.fixture
def config(tiny_config):
    return tiny_config(
        "lora.r=2", "cohort.quorum=2", "cohort.deadline_s=60", "evaluation.deadline_s=30"
    )


def folded(run: Driven) -> list[int]:
    return [each.round for each in run.of(RoundFolded)]


def received(run: Driven, number: int) -> set[str]:
    return {each.client for each in run.of(UpdateReceived) if each.round == number}


def test_a_run_of_honest_nodes_completes(config):
    """Every round folds every client's update, and an adapter is saved."""
    run = drive(MemoryPost(config, NAMES))

    assert (run.finish.complete, folded(run)) == (True, [1, 2])
    assert received(run, 1) == set(NAMES.values())
    assert (run.folder.adapter(2) / "adapter_model.safetensors").exists()


def test_a_spent_budget_ends_a_run_well(tiny_config):
    """A run whose policy ends it after a round is complete, as in a simulation."""
    config = tiny_config("lora.r=2", "policy={kind: adaptive, bytes: 20_000, codec: ecdq}")

    run = drive(MemoryPost(config, NAMES, as_asked))

    assert (run.finish.complete, folded(run)) == (True, [1])
    assert run.finish.reason.startswith("stopped by policy: the budget is used up")


def test_measurements_are_the_clients_mean(config):
    """The untouched model and each round are measured by every node."""
    run = drive(MemoryPost(config, NAMES))

    assert [each.metrics["loss"] for each in run.of(RoundEvaluated)] == [14.0, 14.0, 14.0]
    assert len(run.of(Evaluated)) == 9


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_reply_costs_its_client_only(config, what):
    """The others' updates are folded; the journal says what was wrong with this one."""
    wrong, reason = WRONG[what]

    run = drive(MemoryPost(config, NAMES, only("bob", "train", wrong)))

    told = [each.reason for each in run.of(UpdateRejected, ClientFailed) if each.client == "bob"]
    assert (run.finish.complete, folded(run)) == (True, [1, 2])
    # Once: it is benched in round 2.
    assert [reason in each for each in told] == [True], told


def test_a_silent_node_costs_its_client_only(config):
    """The deadline closes the round over those who have answered."""
    run = drive(MemoryPost(config, NAMES, only("bob", "train", lambda letter, answer: None)))

    assert (run.finish.complete, folded(run)) == (True, [1, 2])
    assert received(run, 1) == {"ada", "cyd"}


def test_a_late_answer_is_no_answer(config):
    """An update that arrives in a later round leaves that round's own work alone."""
    held: list[tuple[object, Parcel]] = []

    def late(letter, answer):
        if letter.round == 1:
            held.append((letter, answer))
            return None
        return held.pop()[1] if held else answer

    run = drive(MemoryPost(config, NAMES, only("bob", "train", late)))

    assert folded(run) == [1, 2]
    assert [each.client for each in run.of(UpdateRejected)] == ["bob"]


def test_a_node_that_cannot_measure_is_left_out_of_the_mean(config):
    """The others' mean stands."""
    run = drive(
        MemoryPost(config, NAMES, only("cyd", "evaluate", lambda letter, answer: "no memory"))
    )

    assert [each.metrics["loss"] for each in run.of(RoundEvaluated)] == [13.5, 13.5, 13.5]


def test_a_silent_measurement_ends_at_its_deadline(config):
    """evaluation.deadline_s closes a measurement that one node never answers."""
    run = drive(MemoryPost(config, NAMES, only("cyd", "evaluate", lambda letter, answer: None)))

    assert [each.metrics["loss"] for each in run.of(RoundEvaluated)] == [13.5, 13.5, 13.5]


def test_a_node_that_goes_offline_has_left(config):
    """Nobody waits for its answer longer than for the quorum."""
    post = MemoryPost(config, NAMES)
    post.answering = only("bob", "train", lambda letter, answer: post.online.discard(12))

    run = drive(post, min_clients=2)

    assert [each.client for each in run.of(ClientLeft)] == ["bob"]
    assert (run.finish.complete, folded(run)) == (True, [1, 2])


def test_a_node_that_comes_back_is_written_again(tiny_config):
    """A round whose quorum needs a client waits for its new node, and folds its update."""
    config = tiny_config("lora.r=2", "rounds=1", "cohort.deadline_s=60")
    post = MemoryPost(config, NAMES | {22: "bob"})
    post.online = set(NAMES)
    post.answering = lambda letter, answer: (
        post.online.discard(12) if (letter.node, letter.kind) == (12, "train") else answer
    )

    run = drive(
        post, min_clients=3, on_wait=lambda now: post.online.add(22) if now > 1005 else None
    )

    assert received(run, 1) == {"ada", "bob", "cyd"}
    assert (run.finish.complete, folded(run)) == (True, [1])


def going_away(config, kept):
    """A post whose node 12 goes offline with bob's work, which is kept; 22 is bob's next."""
    post = MemoryPost(config, NAMES | {22: "bob"})
    post.online = set(NAMES)

    def answering(letter, answer):
        if letter.kind == "train" and letter.client == "bob":
            post.online.discard(12)
            kept.append((letter, answer))
            return None
        return answer

    post.answering = answering
    return post


def test_what_an_offline_node_has_sent_counts(tiny_config):
    """Work that is done is not done again, though its node has left since."""
    kept: list[tuple[Letter, Parcel]] = []
    post = going_away(tiny_config("lora.r=2", "rounds=1", "cohort.deadline_s=60"), kept)

    run = drive(
        post, min_clients=3, on_wait=lambda now: post.late.extend(kept) if now > 1005 else None
    )

    assert [each.client for each in run.of(ClientLeft)] == ["bob"]
    assert (run.finish.complete, received(run, 1)) == (True, {"ada", "bob", "cyd"})


def test_the_end_of_an_old_node_is_not_its_clients(tiny_config):
    """News of the node that a client has left behind does not fail its work on the new one."""
    kept: list[tuple[Letter, Parcel]] = []
    post = going_away(tiny_config("lora.r=2", "rounds=1", "cohort.deadline_s=60"), kept)

    def back(now):
        if now > 1005:
            post.online.add(22)
        if len(kept) == 2:
            post.late += [(kept[0][0], "its node has gone"), kept[1]]

    run = drive(post, min_clients=3, on_wait=back)

    assert run.of(ClientFailed) == []
    assert (run.finish.complete, received(run, 1)) == (True, {"ada", "bob", "cyd"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda letter, answer: "DataError: no rows", "no rows"),
        (lambda letter, answer: Parcel(b"\xff\xff", client="bob"), "no JoinRequest"),
        (lambda letter, answer: Parcel(answer.message, client=""), "no client's name"),
        (lambda letter, answer: Parcel(answer.message, client="ada"), "and so does node 11"),
        (lambda letter, answer: Parcel(b"", client="bob"), "config"),
    ],
)
def test_a_node_that_does_not_fit_is_not_let_in(config, change, reason):
    """It hears no more of the run, which goes on without it; the reason is told."""
    run = drive(MemoryPost(config, NAMES, only("bob", "join", change)), min_clients=2)

    assert reason in run.refused[12]
    assert {each.client for each in run.of(ClientJoined)} == {"ada", "cyd"}
    assert run.finish.complete


def test_a_run_goes_on_with_other_nodes(config):
    """After an interruption the clients are found again on whatever nodes they come back with."""
    post = MemoryPost(config, NAMES)
    post.answering = only("bob", "train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        drive(post)

    run = drive(MemoryPost(config, {31: "ada", 32: "bob", 33: "cyd"}), resume=True)

    assert (run.finish.complete, folded(run)) == (True, [1, 2])


def interrupt(letter, answer):
    raise KeyboardInterrupt
