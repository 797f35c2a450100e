"""What a client may put on the coordinator's disk, and for how long."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.server.coordinator.conftest import sites, until

from antiphon.core.blob import Blob
from antiphon.core.events import ClientJoined, RoundEvaluated
from antiphon.core.wire import pack_blob, update_blob
from antiphon.server.coordinator.expected import most_upload_bytes
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2


def test_most_is_a_tenth_over_what_is_expected(new_federation):
    """A tenth more may be announced than the assignment says, and what names and headers take."""
    with new_federation("rounds=1") as federation:
        federation.start(1)
        federation.submit(ClientJoined("north", 10))
        federation.submit(RoundEvaluated(0, {"loss": 2.0}))
        federation.submit(federation.plan(1, ("north",)))

        most = most_upload_bytes(federation, "north", 1)
        expected = federation.assignment("north").upload_bytes

    assert most == int(1.1 * expected) + 2 * 512 + (64 << 10)


def test_a_round_that_is_planned_at_this_moment_bounds_as_the_largest_task(new_federation):
    """The event loop may ask while the journal's thread is between two steps: it never raises."""
    with new_federation("rounds=1") as federation:
        federation.start(1)

        most = most_upload_bytes(federation, "north", 1)

    assert most >= 4 * sum(rows * columns for rows, columns in federation.space.factors.values())


def test_an_upload_larger_than_its_task_is_refused(serve):
    """A client announces what its assignment comes to, however much any client may send."""
    message = update_pb2.Update(run_id="run", round=1, examples=10, steps=1)
    message.tensors.CopyFrom(pack_blob(Blob("00" * 32, 1_000_000, "safetensors")))

    async def scenario():
        async with serve() as running, sites(running, "north", "mallory") as (north, mallory):
            await asyncio.gather(north.join(), mallory.join())
            await mallory.next("train")
            return await mallory.submit(message.SerializeToString())

    answer = asyncio.run(scenario())

    assert answer.verdict == pb.SubmitUpdateResponse.REJECTED
    assert answer.reason == "an upload of 1000000 bytes, expected 1 to 67932"


@pytest.mark.parametrize("how", ["leaves", "is revoked"])
def test_nothing_stays_on_the_disk_of_who_is_gone(serve, how):
    """What a client has uploaded of an update is removed when it leaves, and when it is revoked."""

    async def scenario():
        async with serve() as running, sites(running, "north", "mallory") as (north, mallory):
            await asyncio.gather(north.join(), mallory.join())
            update = mallory.update((await mallory.next("train")).assignment)
            await mallory.submit(update.message)
            await mallory.upload(update.joined, update_blob(update.message))
            folder = running.folder.uploads("mallory")
            before = folder.exists()
            if how == "leaves":
                await mallory.stub.Leave(pb.LeaveRequest(run_id=mallory.run_id))
            else:
                running.fleet.ledger.revoke("mallory", time.time())
                await until(lambda: not folder.exists())
            return before, folder.exists()

    assert asyncio.run(scenario()) == (True, False)
