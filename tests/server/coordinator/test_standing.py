"""Who takes no part, and why: declined, failed or revoked; over real sockets with real certificates."""

from __future__ import annotations

import asyncio
import time

from tests.server.coordinator.conftest import Serve, Site, journalled, sites, until

from antiphon.core.events import ClientDeclined, ClientRevoked
from antiphon.core.journal import Journal
from antiphon.core.refusals import SENTENCES, Refusal
from antiphon.server.report import report
from antiphon.v1 import coordinator_pb2 as pb

TWO_OF_THREE = ("cohort.min_clients=2", "cohort.deadline_s=50")


def declining(*codes: str) -> pb.LeaveRequest:
    """What a site says that takes no part, before it has joined."""
    return pb.LeaveRequest(codes=codes)


def test_a_decline_stands_in_the_status_before_there_is_a_run(serve: Serve) -> None:
    """With the sentence of each code, and the rounds of the config."""

    async def story() -> None:
        async with (
            serve("rounds=3") as running,
            sites(running, "north") as (north,),
        ):
            await north.stub.Leave(declining("policy.upload_round", "policy.method"))

            status = running.coordinator.status()

        (apart,) = status["apart"]
        assert (status["rounds"], apart["name"], apart["what"]) == (3, "north", "declined")
        assert SENTENCES[Refusal.UPLOAD_ROUND] in apart["reason"]
        assert SENTENCES[Refusal.METHOD] in apart["reason"]

    asyncio.run(story())


def test_a_decline_is_journalled_once_for_each_change(serve: Serve) -> None:
    """Also one that came before the run began; a client that declines every minute adds nothing."""

    async def story() -> None:
        async with (
            serve("rounds=1", *TWO_OF_THREE) as running,
            sites(running, "north", "south") as (north, south),
        ):
            for _ in range(3):
                await south.stub.Leave(declining("policy.hours"))
            await north.join()
            for _ in range(3):
                await south.stub.Leave(declining("policy.hours"))
            await south.stub.Leave(declining("policy.model"))
            await until(lambda: len(journalled(running.folder, ClientDeclined)) == 2)

        said = [each.codes for each in journalled(running.folder, ClientDeclined)]
        assert said == [("policy.hours",), ("policy.model",)]

    asyncio.run(story())


def test_declines_are_remembered_by_the_next_coordinator(serve: Serve) -> None:
    """They follow from the journal; who joins has changed its mind."""

    async def story() -> None:
        async with (
            serve("rounds=2", *TWO_OF_THREE) as running,
            sites(running, "north", "south") as (north, south),
        ):
            await north.join()
            await south.stub.Leave(declining("policy.hours"))
            await until(lambda: journalled(running.folder, ClientDeclined))

        async with serve("rounds=2", *TWO_OF_THREE, folder=running.folder) as again:
            before = again.coordinator.status()["apart"]
            async with sites(again, "south") as (south,):
                await south.join()
            after = again.coordinator.status()["apart"]

        assert ([each["name"] for each in before], after) == (["south"], [])

    asyncio.run(story())


async def always_failing(site: Site) -> None:
    """Be a client of version 0.3 whose owner forbids what it uploads: it joins, and fails every task."""
    await site.join()
    while (answer := await site.poll(wait_s=1.0)).WhichOneof("task") != "over":
        if answer.WhichOneof("task") == "train":
            failure = pb.ReportFailureRequest(run_id="run", code="policy.upload_round")
            failure.round = int(site.running.coordinator.status()["round"])
            await site.stub.ReportFailure(failure)


def test_two_finish_without_one_that_always_fails(serve: Serve) -> None:
    """The third is benched; the run completes with the others, and its report says why."""

    async def story() -> None:
        three = ("rounds=3", "cohort.quorum=2", "cohort.min_clients=3", "evaluation.every=9")
        async with (
            serve(*three, "evaluation.deadline_s=1") as running,
            sites(running, "north", "south", "tiny") as (north, south, tiny),
        ):
            await asyncio.gather(north.play(), south.play(), always_failing(tiny))
            await running.task
        with Journal.reading(running.folder.journal_file) as journal:
            told = report.build(journal.read())

        assert [each["accepted"] for each in told["rounds"]] == [["north", "south"]] * 3
        assert ["tiny" in each["cohort"] for each in told["rounds"]] == [True, False, True]
        (why, *_) = (each["reason"] for each in told["problems"] if each["client"] == "tiny")
        assert SENTENCES[Refusal.UPLOAD_ROUND] in why

    asyncio.run(story())


def test_a_revoked_client_is_gone_at_once(serve: Serve) -> None:
    """The status names it, and its accepted update does not count."""

    async def story() -> None:
        async with (
            serve("rounds=1", *TWO_OF_THREE) as running,
            sites(running, "north", "south") as (north, south),
        ):
            await north.join()
            await south.join()
            await south.work_a_round()
            running.fleet.ledger.revoke("south", time.time())
            await until(lambda: journalled(running.folder, ClientRevoked), 3.0)
            await until(lambda: running.coordinator.status()["apart"])
            status = running.coordinator.status()

        assert [(each["name"], each["what"]) for each in status["apart"]] == [("south", "revoked")]
        client = next(each for each in status["clients"] if each["name"] == "south")
        assert (client["present"], client["in_round"]) == (False, "rejected")

    asyncio.run(story())
