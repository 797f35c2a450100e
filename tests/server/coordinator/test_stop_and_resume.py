"""A coordinator that is stopped at any stage and started again ends with the same adapter."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import pytest
from tests.server.coordinator.conftest import PATIENCE_S, journalled, sites, until

from antiphon.core.errors import ReportError
from antiphon.core.events import PhaseTimed, RunEnded, RunResumed, RunStarted, UpdateReceived
from antiphon.core.run_folder import RunFolder
from antiphon.core.wire import update_blob
from antiphon.server.folding.state_files import DamagedState
from antiphon.server.report.report import read
from antiphon.v1 import coordinator_pb2 as pb

ROUNDS = "rounds=2"


async def whole_run(serve, folder: RunFolder | None = None) -> RunFolder:
    """Serve to the end of the run, with two good clients."""
    async with serve(ROUNDS, folder=folder) as running:
        async with sites(running, "north", "south") as both:
            await asyncio.gather(*(site.play() for site in both))
        await asyncio.wait_for(running.task, PATIENCE_S)
        return running.folder


def adapter(folder: RunFolder) -> bytes:
    return (folder.adapter(2) / "adapter_model.safetensors").read_bytes()


async def before_anybody(running, north, south):
    """Nobody has come."""


async def joined(running, north, south):
    """One of two is there."""
    await north.join()


async def training(running, north, south):
    """Both train."""
    for site in (north, south):
        await site.join()
    for site in (north, south):
        await site.next("train")


async def announced(running, north, south):
    """One has handed in its message, and nothing of its blob."""
    await training(running, north, south)
    await north.submit(north.update((await north.next("train")).assignment, 0.015).message)


async def half_uploaded(running, north, south):
    """One is in the middle of its upload."""
    await training(running, north, south)
    packed = north.update((await north.next("train")).assignment, 0.015)
    await north.submit(packed.message)
    half = packed.joined[: len(packed.joined) // 2]
    await north.upload(half, update_blob(packed.message))


async def uploaded(running, north, south):
    """One has uploaded, and not handed in again."""
    await training(running, north, south)
    packed = north.update((await north.next("train")).assignment, 0.015)
    await north.submit(packed.message)
    await north.upload(packed.joined, update_blob(packed.message))


async def one_accepted(running, north, south):
    """One of two updates counts."""
    await training(running, north, south)
    assert (await north.work_a_round(0.015)).verdict == pb.SubmitUpdateResponse.ACCEPTED


async def folding(running, north, south):
    """Both updates count; the fold has just begun."""
    await training(running, north, south)
    for site in (north, south):
        await site.work_a_round(0.015)


async def evaluating(running, north, south):
    """One of two measurements is there."""
    await folding(running, north, south)
    await north.measure(2.5)


async def second_round(running, north, south):
    """The second round has begun."""
    await folding(running, north, south)
    for site in (north, south):
        await site.measure(2.5)
    await south.next("train")


async def over(running, north, south):
    """The last measurement is there; nobody has heard that the run is over."""
    await second_round(running, north, south)
    for site in (north, south):
        await site.work_a_round(0.025)
    for site in (north, south):
        await site.measure(2.5)


STAGES = [
    before_anybody, joined, training, announced, half_uploaded, uploaded, one_accepted, folding,
    evaluating, second_round, over,
]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(serve, stage):
    """The same adapter bit for bit, and each client's update of each round counts once."""

    async def scenario():
        async with serve(ROUNDS) as running, sites(running, "north", "south") as both:
            await stage(running, *both)
        return await whole_run(serve, running.folder), await whole_run(serve)

    resumed, undisturbed = asyncio.run(scenario())

    assert adapter(resumed) == adapter(undisturbed)
    counted = [(e.client, e.round) for e in journalled(resumed, UpdateReceived)]
    assert sorted(counted) == [("north", 1), ("north", 2), ("south", 1), ("south", 2)]


def test_what_was_accepted_is_not_asked_for_again(serve):
    """A client whose update counts is given no work when the round goes on."""

    async def scenario():
        async with serve(ROUNDS) as running, sites(running, "north", "south") as both:
            await one_accepted(running, *both)
        async with serve(folder=running.folder) as running, sites(running, "north", "south") as b:
            north, south = await asyncio.gather(b[0].poll(0.5), b[1].poll(5.0))
            return north.WhichOneof("task"), south.WhichOneof("task")

    assert asyncio.run(scenario()) == (None, "train")


def test_what_was_uploaded_is_not_sent_again(serve):
    """The new coordinator goes on where the line to the old one broke."""

    async def scenario():
        async with serve(ROUNDS) as running, sites(running, "north", "south") as both:
            await half_uploaded(running, *both)
        async with serve(folder=running.folder) as running, sites(running, "north", "south") as b:
            packed = b[0].update((await b[0].next("train")).assignment, 0.015)
            await b[0].submit(packed.message)
            blob = update_blob(packed.message)
            return await b[0].arrived(blob), blob.bytes

    offset, size = asyncio.run(scenario())

    assert offset == size // 2


def test_a_waiting_call_is_answered_when_the_coordinator_stops(serve):
    """A client is not left hanging: it is told to come again later."""

    async def scenario():
        async with serve(ROUNDS) as running, sites(running, "north", "south") as (north, _):
            await north.join()
            waiting = asyncio.ensure_future(north.poll(wait_s=15.0))
            await until(lambda: running.coordinator.admission.engine.desk._waiting)
            running.coordinator.stop()
            return await asyncio.wait_for(waiting, 2.0)

    answer = asyncio.run(scenario())

    assert answer.WhichOneof("task") is None
    assert answer.retry_after_ms > 0


def test_a_client_that_knocks_all_the_time_finds_a_resumed_run_open(serve):
    """While a long journal is read again nobody is taken for the first client of a new run."""

    async def knock(site, answers: list[str], stop: asyncio.Event):
        while not stop.is_set():
            with suppress(grpc.aio.AioRpcError):
                answers.append((await site.join()) and "joined")

    async def scenario():
        async with serve(ROUNDS) as running, sites(running, "north", "south") as both:
            await training(running, *both)
            many = [PhaseTimed(1, "x", 0.1)] * 30_000
            running.coordinator._journal.append_many(many, 0.0)
            port = running.where.coordinator
        stop, answers = asyncio.Event(), []
        async with sites(running, "north") as (north,):
            knocking = asyncio.ensure_future(knock(north, answers, stop))
            async with serve(ROUNDS, folder=running.folder, listen=f"127.0.0.1:{port}"):
                await until(lambda: answers)
                stop.set()
                await knocking
        return journalled(running.folder)

    events = asyncio.run(scenario())

    assert [type(e) for e in events if isinstance(e, RunStarted | RunResumed)] == [
        RunStarted,
        RunResumed,
    ]


def test_a_run_that_is_over_ends_once(serve):
    """Its journal ends with the word that it is complete."""

    async def scenario():
        return await whole_run(serve)

    events = journalled(asyncio.run(scenario()))

    assert isinstance(events[-1], RunEnded)
    assert len([each for each in events if isinstance(each, RunEnded)]) == 1


def test_a_report_that_fails_leaves_a_run_that_is_over(serve):
    """The coordinator says so at its end, and nothing is to be resumed."""
    folders = []

    async def scenario():
        async with serve("rounds=1") as running, sites(running, "north", "south") as both:
            folders.append(running.folder)
            running.folder.report_md.mkdir()  # in the way of the report
            await asyncio.gather(*(site.play() for site in both))
            await asyncio.wait([running.task])

    with pytest.raises(ReportError, match=r"is over \(complete"):
        asyncio.run(scenario())

    assert folders[0].is_complete()


def test_a_coordinator_goes_on_from_an_earlier_round(serve):
    """It refuses a damaged state; told the round, it goes on from there to the end of the run."""

    four = "rounds=4", "evaluation.every=4"

    async def scenario():
        async with serve(*four) as running, sites(running, "north", "south") as both:
            await training(running, *both)
            for _ in (1, 2):
                await asyncio.gather(*(site.work_a_round() for site in both))
            await both[0].next("train")
        running.folder.state_file(2).unlink()
        with pytest.raises(DamagedState, match="--from-round 1"):
            async with serve(*four, folder=running.folder):
                pass
        async with serve(*four, folder=running.folder, from_round=1) as running:
            async with sites(running, "north", "south") as both:
                await asyncio.gather(*(site.play() for site in both))
            await asyncio.wait_for(running.task, PATIENCE_S)
            return running.folder

    folder = asyncio.run(scenario())

    report = read(folder)
    assert report["complete"]
    assert [each["outcome"] for each in report["rounds"]] == [
        *("folded", "rewound", "rewound", "folded"),
    ]
