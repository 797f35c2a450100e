"""A session answers the exchanges of a round that are neither training nor measuring."""

from __future__ import annotations

import hashlib

import grpc
import pytest
from tests.client.daemon.scripted import RUN, Failure
from tests.client.daemon.stage import Stage, over, run_to_the_end, train_task

from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.reading import left, lines
from antiphon.core.limits import MOST_ANSWER_BYTES
from antiphon.v1 import coordinator_pb2 as pb


def exchange_task(question: bytes = b"what", number: int = 1) -> pb.NextTaskResponse:
    """A question to answer."""
    task = pb.ExchangeTask(round=number, exchange="keys", question=question, deadline_ms=60_000)
    return pb.NextTaskResponse(exchange=task)


def play(stage: Stage, *tasks: pb.NextTaskResponse) -> None:
    """Give these tasks, and take part until the run is over."""
    for task in (*tasks, over()):
        stage.script.give(task)
    stage.play(run_to_the_end)


def test_an_answer_is_handed_in_as_the_trainer_has_written_it(stage: Stage) -> None:
    """Under the names of its run, round and exchange; training follows."""
    play(stage, exchange_task(), train_task(stage.script))

    (answer,) = stage.script.seen("SubmitAnswer")
    assert (answer.run_id, answer.round, answer.exchange) == (RUN, 1, "keys")
    assert answer.answer == b"what 1"
    assert len(stage.script.updates) == 1


def test_the_trainer_gets_the_folder_that_lasts_as_long_as_the_run(stage: Stage) -> None:
    """What an exchange keeps lies where error feedback keeps its own."""
    play(stage, exchange_task(), train_task(stage.script))

    (asked,), (train,) = stage.requests("respond"), stage.requests("train")
    assert asked["keep"] == train["keep"]
    assert (asked["round"], asked["exchange"]) == (1, "keys")


def test_a_lost_line_costs_no_answer(stage: Stage) -> None:
    """The same bytes are handed in again."""
    stage.script.failures["SubmitAnswer"].append(Failure(grpc.StatusCode.UNAVAILABLE))

    play(stage, exchange_task())

    assert [each.answer for each in stage.script.seen("SubmitAnswer")] == [b"what 1"] * 2


def test_while_it_answers_it_says_what_it_has_in_hand(stage: Stage) -> None:
    """A failure names the exchange too, and its code only."""
    stage.test(fail="respond")

    play(stage, exchange_task())

    (report,) = stage.script.seen("ReportFailure")
    assert (report.round, report.exchange, report.evaluating) == (1, "keys", False)
    assert (report.code, report.reason) == ("trainer.failed", "")


@pytest.mark.parametrize(
    ("policy", "size", "code"),
    [
        ({"max_upload_mb_per_round": 0.1}, 100_001, "policy.upload_round"),
        ({"max_upload_mb_per_day": 0.1}, 100_001, "policy.upload_day"),
        ({}, MOST_ANSWER_BYTES - 1, "update.too_large"),
    ],
)
def test_an_answer_that_may_not_leave_stays(
    stage: Stage, policy: dict[str, float], size: int, code: str
) -> None:
    """The owner's limits on uploads hold for answers, and one message's size does."""
    stage.policy(**policy)

    play(stage, exchange_task(b"x" * size))

    (report,) = stage.script.seen("ReportFailure")
    assert report.code == code
    assert stage.script.seen("SubmitAnswer") == []


def test_a_round_before_the_newest_is_answered_no_more(stage: Stage) -> None:
    """Run again without one of its clients, it would tell what that one did."""
    play(stage, exchange_task(number=2), exchange_task(b"again", number=1))

    (answer,) = stage.script.seen("SubmitAnswer")
    (report,) = stage.script.seen("ReportFailure")
    assert answer.round == 2
    assert (report.round, report.code) == (1, "task.unexpected")


def test_a_cohort_is_of_as_many_as_the_owner_wants_at_least(stage: Stage) -> None:
    """The trainer is told, and three at least: of two each could take its own away."""
    play(stage, exchange_task())
    stage.policy(min_cohort=2)
    play(stage, exchange_task(number=2))

    assert [each["min_members"] for each in stage.requests("respond")] == [3, 3]


def test_an_answer_counts_among_the_bytes_of_the_day(stage: Stage) -> None:
    """As an update does."""
    play(stage, exchange_task())

    assert stage.outbox().sent_on("2026-03-02") == len(b"what 1")


def test_an_exchange_without_a_name_is_passed_over(stage: Stage) -> None:
    """It cannot be answered, and the session goes on."""
    nameless = exchange_task()
    nameless.exchange.exchange = ""

    play(stage, nameless)

    assert stage.script.seen("SubmitAnswer") == []


def test_the_ledger_tells_of_answers(stage: Stage) -> None:
    """With their purpose, bytes, hash and verdict, before they leave."""
    play(stage, exchange_task())

    (noted,) = (
        each
        for each in left(lines(sent_folder(stage.folder)))
        if each.what.method == "SubmitAnswer"
    )
    assert noted.what.purpose == "answer"
    assert (noted.what.round, noted.bytes, noted.verdict) == (1, 6, "accepted")
    assert noted.what.sha256 == hashlib.sha256(b"what 1").hexdigest()


def test_rows_that_an_owner_keeps_are_drawn_for_no_exchange(stage: Stage) -> None:
    """Too few examples together, of which one would have too large a share: the trainer is not asked."""
    stage.test(exchanges={"keys": {"steps": 1, "batch": 4, "accumulation": 1}})

    play(stage, exchange_task())

    (report,) = stage.script.seen("ReportFailure")
    assert report.code == "policy.batch"
    assert not stage.requests("respond")
