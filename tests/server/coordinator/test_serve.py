"""A coordinator as a process: settings read again, pages, ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import urllib.request

import grpc
import pytest
import structlog
from tests.server.coordinator.conftest import journalled, refusal, sites, until
from tests.server.coordinator.test_hostile import good, packed

from antiphon.core.coordinator_settings import CoordinatorSettings
from antiphon.core.events import ClientJoined, RunStarted
from antiphon.core.wire import update_blob
from antiphon.v1 import coordinator_pb2 as pb


def page(running, path: str) -> tuple[int, str]:
    """Read a page of the coordinator."""
    address = f"http://127.0.0.1:{running.where.metrics}{path}"
    with urllib.request.urlopen(address, timeout=5) as answer:
        return answer.status, answer.read().decode()


async def ask(running, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(page, running, path)


def test_the_status_says_what_the_run_waits_for(serve):
    """Before the first client, and while clients train."""

    async def scenario():
        async with (
            serve(metrics="127.0.0.1:0", fixed=False) as running,
            sites(running, "north", "south") as both,
        ):
            _, new = await ask(running, "/status")
            await asyncio.gather(*(site.join() for site in both))
            await both[0].next("train")
            await both[0].poll(working_on_round=1, steps_done=3)
            _, training = await ask(running, "/status")
            return json.loads(new), json.loads(training)

    new, training = asyncio.run(scenario())

    assert new["why"] == "waiting for the first client: clients say what the run trains"
    assert (training["phase"], training["round"]) == ("collecting", 1)
    assert "waiting for" in training["why"]
    north = training["clients"][0]
    assert (north["name"], north["working_on"], north["steps_done"]) == ("north", 1, 3)


def test_the_metrics_count_updates_and_bytes(serve):
    """What Prometheus reads, under the names that the documentation gives."""

    async def scenario():
        async with (
            serve(metrics="127.0.0.1:0") as running,
            sites(running, "north", "south") as both,
        ):
            for site in both:
                await site.join()
            await both[0].work_a_round()
            return (await ask(running, "/healthz")), (await ask(running, "/metrics"))

    (code, health), (_, metrics) = asyncio.run(scenario())

    assert (code, json.loads(health)) == (200, {"healthy": True})
    assert 'antiphon_updates_total{verdict="accepted"} 1.0' in metrics
    assert 'antiphon_blob_bytes_total{direction="up"}' in metrics


@pytest.fixture
def reload(monkeypatch):
    """Give a running coordinator other settings and send SIGHUP."""

    async def reload(running, **changes):
        before = running.coordinator._settings
        wanted = CoordinatorSettings.model_validate({**before.model_dump(), **changes})
        monkeypatch.setattr(running.coordinator, "_read_settings", lambda: wanted)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: running.coordinator._settings is not before)

    before = structlog.get_config()
    yield reload
    structlog.configure(**before)
    root = logging.getLogger()
    for handler in [each for each in root.handlers if getattr(each, "of_antiphon", False)]:
        root.removeHandler(handler)


def test_a_running_coordinator_takes_over_new_limits(serve, reload):
    """After SIGHUP the lease and the largest upload are new; an address is not."""

    async def scenario():
        async with serve() as running, sites(running, "north") as (north,):
            await reload(running, lease_s=60.0, max_upload_mb=0.5, listen="127.0.0.1:1")
            answer = await north.join()
            hello = await north.stub.Hello(pb.HelloRequest())
            return answer.lease_ms, hello.max_upload_bytes

    assert asyncio.run(scenario()) == (60_000, 500_000)


def test_upload_slots_can_be_added_while_it_runs(serve, reload):
    """An upload that waits behind a stalled one finds a place after SIGHUP."""

    async def stalled(start: int) -> None:
        if start:
            await asyncio.Event().wait()

    async def scenario():
        async with (
            serve(upload_slots=1) as running,
            sites(running, "north", "south") as (north, south),
        ):
            await asyncio.gather(north.join(), south.join())
            await asyncio.gather(north.next("train"), south.next("train"))
            update = packed()
            blob = update_blob(update.message)
            await asyncio.gather(north.submit(update.message), south.submit(update.message))
            hanging = asyncio.ensure_future(north.upload(update.joined, blob, pause=stalled))
            await until(lambda: running.coordinator._service._slots.locked())
            await reload(running, upload_slots=2)
            offset = await asyncio.wait_for(south.upload(update.joined, blob), 5.0)
            hanging.cancel()
            return offset, blob.bytes

    offset, size = asyncio.run(scenario())

    assert offset == size


def test_settings_that_are_wrong_change_nothing(serve, monkeypatch):
    """A slip in the file does not end a coordinator."""

    async def scenario():
        async with serve() as running, sites(running, "north") as (north,):
            os.kill(os.getpid(), signal.SIGHUP)  # it was started without a file
            return (await north.join()).lease_ms

    assert asyncio.run(scenario()) == 13_000


def test_a_newer_call_ends_an_upload_and_its_sender_is_told(serve):
    """A client that is back on a new line goes on with what the old line had brought."""
    content = packed().joined

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as (north, south):
            await asyncio.gather(north.join(), south.join())
            await north.next("train")
            update, sent = packed(), asyncio.Event()
            blob = update_blob(update.message)
            await north.submit(update.message)

            async def stall(start: int) -> None:
                if start >= 200:
                    sent.set()
                    await asyncio.Event().wait()

            old = asyncio.ensure_future(refusal(north.upload(content, blob, pause=stall)))
            await sent.wait()
            await until(lambda: running.coordinator._spool._at_work)
            offset = await north.arrived(blob)
            code, _ = await asyncio.wait_for(old, 5.0)
            return code, await north.upload(content, blob, offset)

    code, total = asyncio.run(scenario())

    assert code == grpc.StatusCode.CANCELLED
    assert total == len(content)


def test_a_first_client_that_hangs_up_does_not_begin_the_run_twice(serve):
    """Whenever its call is cut off: the run begins once, with whoever comes next."""

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as (north, south):
            for delay in (0.0, 0.001, 0.003, 0.01, 0.02):
                cut = asyncio.ensure_future(north.join())
                await asyncio.sleep(delay)
                cut.cancel()
            await south.join()
            await north.join()
            await south.next("train")
            return journalled(running.folder)

    events = asyncio.run(scenario())

    assert len([each for each in events if isinstance(each, RunStarted)]) == 1
    assert {each.client for each in events if isinstance(each, ClientJoined)} == {"north", "south"}


def test_who_had_left_hears_that_the_run_is_over(serve):
    """A call of a member that was away when the run ended is answered, and writes nothing more."""

    async def scenario():
        async with (
            serve("rounds=1", "cohort.quorum=1") as running,
            sites(running, "north", "south", "east") as (north, south, east),
        ):
            for site in (north, south):
                await site.join()
            await north.work_a_round()
            await south.stub.Leave(pb.LeaveRequest(run_id="run"))
            await north.next("evaluate")
            await east.join()
            await north.measure()
            await until(lambda: running.coordinator.admission.engine.over)
            return (await south.poll()).WhichOneof("task")

    assert asyncio.run(scenario()) == "over"


def test_the_content_of_updates_is_nowhere_in_the_logs(serve):
    """Neither values nor certificates: names, rounds and verdicts."""

    async def scenario():
        async with serve("rounds=1") as running, sites(running, "north", "south") as both:
            await asyncio.gather(*(site.play() for site in both))
            await running.task

    with structlog.testing.capture_logs() as entries:
        asyncio.run(scenario())

    said = str(entries)
    assert "'verdict': 'accepted'" in said
    assert not any(word in said for word in ("BEGIN", "PRIVATE", "0.015", str(good())[:20]))


def test_the_end_of_a_run_is_logged(serve):
    """Whoever reads the log sees that the run is over, and why."""

    async def scenario():
        async with serve("rounds=1") as running, sites(running, "north", "south") as both:
            await asyncio.gather(*(site.play() for site in both))
            await running.task

    with structlog.testing.capture_logs() as entries:
        asyncio.run(scenario())

    over = [each for each in entries if each["event"] == "run over"]
    assert [(each["complete"], bool(each["reason"])) for each in over] == [(True, True)]
