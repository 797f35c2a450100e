"""Exchanges over letters: what a node answers, or does not, costs its own client that round alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.flower_nodes import Driven, MemoryPost, answer_of, drive, only

from antiphon.core.config import RunConfig
from antiphon.core.events import (
    AnswerReceived,
    BytesMoved,
    ClientFailed,
    ExchangeCombined,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.simulation.flower.letters import Letter, Parcel

NAMES = {11: "ada", 12: "bob", 13: "cyd"}
WRONG: dict[str, Callable[[RunConfig, Letter], Parcel | str]] = {
    "an exception": lambda config, letter: "ValueError: no",
    "no protobuf": lambda config, letter: Parcel(b"\xff\xff\xff"),
    "nothing": lambda config, letter: Parcel(b""),
    "another round": lambda config, letter: answer_of(config, letter, round=7),
    "another exchange": lambda config, letter: answer_of(config, letter, exchange="other"),
    "no arrays": lambda config, letter: answer_of(config, letter, answer=b"zz"),
    "far too much": lambda config, letter: answer_of(config, letter, answer=bytes(5 << 20)),
}


@pytest.fixture
def config(tiny_config: Any) -> RunConfig:
    """Three nodes, of which two are enough; two rounds."""
    made: RunConfig = tiny_config(
        "lora.r=2",
        "method=fedsb",
        "frames={kind: gradient, rows: 2}",
        "rounds=2",
        "cohort.quorum=2",
        "cohort.deadline_s=60",
        "evaluation.deadline_s=30",
    )
    return made


def test_frames_are_asked_for_once_and_travel_with_each_model(config: RunConfig) -> None:
    """One letter to each node before the first round; frames beside both rounds' models, and counted."""
    post = MemoryPost(config, NAMES)

    run = drive(post)

    kinds = Counter(letter.kind for letter in post.sent)
    assert kinds["ask"] == 3
    assert all(
        each.parcel.frames
        for each in post.sent
        if each.kind in ("train", "evaluate") and each.round
    )
    moved = Counter((each.purpose, each.direction) for each in run.of(BytesMoved))
    assert moved["frames", "down"] == 6
    assert moved["exchange", "up"] == moved["exchange", "down"] == 3


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_costs_its_own_client(config: RunConfig, what: str) -> None:
    """Whatever the bytes are: the two others' frames are found, and the run goes to its end."""
    wrong = WRONG[what]
    post = MemoryPost(config, NAMES, only("ada", "ask", lambda letter, _: wrong(config, letter)))

    run = drive(post)

    assert run.finish.complete
    assert {each.client for each in run.of(AnswerReceived)} == {"bob", "cyd"}
    told = run.of(ClientFailed, UpdateRejected)
    assert {(each.client, each.exchange) for each in told} == {("ada", "gradient")}
    assert [each.exchange for each in run.of(ExchangeCombined)] == ["gradient"]


def test_an_answer_that_never_comes_is_waited_for_until_the_deadline(config: RunConfig) -> None:
    """Then the round goes on with those who have answered."""
    post = MemoryPost(config, NAMES, only("ada", "ask", lambda letter, answer: None))

    run = drive(post)

    assert run.finish.complete
    assert {each.client for each in run.of(UpdateReceived) if each.round == 1} == {"bob", "cyd"}


def test_letters_name_the_run(config: RunConfig) -> None:
    """What a node keeps of an answer is kept for one run, not for the next with the same config."""
    first, second = MemoryPost(config, NAMES), MemoryPost(config, NAMES)

    drive(first)
    again: Driven = drive(second)

    runs = [
        {each.parcel.run for each in post.sent if each.kind == "ask"} for post in (first, second)
    ]
    assert again.finish.complete
    assert len(runs[0]) == len(runs[1]) == 1
    assert runs[0] != runs[1]
