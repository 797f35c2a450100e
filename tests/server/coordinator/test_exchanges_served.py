"""Exchanges over mutual TLS, with clients that do as they are told, and one that does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.committed import install
from tests.plugins import installed
from tests.server.coordinator.conftest import PATIENCE_S, Site, journalled, refusal, sites, until

from antiphon.core.events import AnswerReceived, ClientFailed, RoundFolded, UpdateRejected
from antiphon.core.tensors import to_bytes
from antiphon.core.wire import unpack_assignment
from antiphon.v1 import coordinator_pb2 as pb

VERDICT = pb.SubmitUpdateResponse
COMMITTED = ("method=committed", "rounds=1", "evaluation.before_first_round=false")


@pytest.fixture(autouse=True)
def _method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path / "site")
    with installed(tmp_path / "site", monkeypatch):
        yield


def number(value: int) -> bytes:
    return to_bytes({"number": np.array([value], np.uint64)})


async def hand_in(site: Site, answer: bytes, exchange: str = "commit", of: int = 1) -> Any:
    request = pb.SubmitAnswerRequest(run_id=site.run_id, round=of, exchange=exchange, answer=answer)
    return await site.stub.SubmitAnswer(request, timeout=PATIENCE_S)


async def answer(site: Site, value: int) -> Any:
    task = await site.next("exchange")
    return await hand_in(site, number(value), task.exchange, task.round)


def test_a_round_goes_through_its_list(serve: Any) -> None:
    """Both commit, train with the mean, and reveal; then the round is folded."""

    async def scenario() -> Any:
        async with serve(*COMMITTED) as running, sites(running, "north", "south") as both:
            for site in both:
                await site.join()
            asked = [await site.next("exchange") for site in both]
            await asyncio.gather(
                *(answer(each, 2 * n) for each, n in zip(both, (3, 5), strict=True))
            )
            tasks = [await site.next("train") for site in both]
            for site, task in zip(both, tasks, strict=True):
                await site.deliver(site.update(task.assignment))
            await asyncio.gather(*(answer(each, n) for each, n in zip(both, (3, 5), strict=True)))
            await until(lambda: bool(journalled(running.folder, RoundFolded)))
            told = [
                unpack_assignment(task.assignment, site.name, site.run_id)[0].told
                for site, task in zip(both, tasks, strict=True)
            ]
            return asked, told, journalled(running.folder, AnswerReceived)

    asked, told, answers = asyncio.run(scenario())

    assert [(each.round, each.exchange) for each in asked] == [(1, "commit")] * 2
    assert all(each.deadline_ms > 0 for each in asked)
    assert [list(each["mean"]) for each in told] == [[8.0], [8.0]]
    assert [each.exchange for each in answers] == ["commit"] * 2 + ["reveal"] * 2


async def joined(*members: Site) -> None:
    for site in members:
        await site.join()
    for site in members:
        await site.next("exchange")


def of_north(serve: Any, *what: tuple[bytes, str, int]) -> tuple[list[Any], list[Any]]:
    """Let north hand these in; return the answers, and what is journalled of answers."""

    async def scenario() -> tuple[list[Any], list[Any]]:
        async with serve(*COMMITTED) as running, sites(running, "north", "south") as both:
            await joined(*both)
            answers = [await hand_in(both[0], *each) for each in what]
            kinds = (AnswerReceived, UpdateRejected)
            return answers, [e for e in journalled(running.folder) if isinstance(e, kinds)]

    return asyncio.run(scenario())


def test_an_answer_counts_once_however_often_it_is_sent(serve: Any) -> None:
    """The first acknowledgement may be lost: the same bytes are a duplicate, and no second event."""
    same = (number(2), "commit", 1)

    answers, events = of_north(serve, same, same, same)

    assert [each.verdict for each in answers] == [
        VERDICT.ACCEPTED,
        VERDICT.DUPLICATE,
        VERDICT.DUPLICATE,
    ]
    assert len(events) == 1


@pytest.mark.parametrize(
    ("answer", "exchange", "of", "reason"),
    [
        (b"\xff" * 30, "commit", 1, "not safetensors"),
        (to_bytes({"x": np.zeros(1)}), "commit", 1, "expected one number"),
        (bytes(2 << 20), "commit", 1, "expected 1048576 at most"),
        (number(2), "reveal", 1, "has not come to its exchange reveal"),
        (number(2), "training", 1, "has no exchange 'training'"),
        (number(2), "../../x", 1, "has no exchange"),
        (number(2), "x" * 5000, 1, "has no exchange"),
        (number(2), "commit", 7, "has not been opened"),
    ],
)
def test_what_was_not_asked_for_is_refused(
    serve: Any, answer: bytes, exchange: str, of: int, reason: str
) -> None:
    """With the reason; whatever a client says costs nobody else anything."""
    answers, events = of_north(serve, (answer, exchange, of))

    assert answers[0].verdict == VERDICT.REJECTED
    assert reason in answers[0].reason
    assert len(answers[0].reason) < 600
    assert len(events) == 1


def test_refusals_are_bounded(serve: Any) -> None:
    """Each is a line of the journal, so a client has a few in a round."""

    async def scenario() -> Any:
        async with serve(*COMMITTED) as running, sites(running, "north", "south") as both:
            await joined(*both)
            for value in range(20):
                await hand_in(both[0], number(value), "nothing")
            code, _ = await refusal(hand_in(both[0], number(1), "nothing"))
            return code

    assert asyncio.run(scenario()) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_failure_names_its_exchange(serve: Any) -> None:
    """Who cannot answer is not waited for; the word of another exchange is passed over."""

    async def scenario() -> Any:
        quorum = ("cohort.quorum=1", *COMMITTED)
        async with serve(*quorum) as running, sites(running, "north", "south") as (north, south):
            await joined(north, south)
            for exchange in ("", "commit"):
                report = pb.ReportFailureRequest(
                    run_id=north.run_id, round=1, exchange=exchange, code="trainer.failed"
                )
                await north.stub.ReportFailure(report)
            await hand_in(south, number(2))
            await south.next("train")
            waits = await north.poll(0.0)
            return waits.WhichOneof("task"), journalled(running.folder, ClientFailed)

    task, failed = asyncio.run(scenario())

    assert task is None
    assert [each.exchange for each in failed] == ["training", "commit"]


def test_a_task_that_is_over_is_taken_back(serve: Any) -> None:
    """Who still answers when the round has gone on without it hears so."""

    async def scenario() -> Any:
        short = ("cohort.quorum=1", "cohort.deadline_s=0.7", "engine.step_s=0.1", *COMMITTED)
        async with serve(*short) as running, sites(running, "north", "south") as (north, south):
            await joined(north, south)
            await hand_in(south, number(2))
            in_hand = {"working_on_round": 1, "exchange": "commit"}
            kept = await south.poll(0.0, **in_hand)
            await south.next("train")
            return kept, await north.poll(5.0, **in_hand)

    kept, cancelled = asyncio.run(scenario())

    assert cancelled.cancel.round == 1
    assert not kept.WhichOneof("task") or kept.cancel.round == 1
