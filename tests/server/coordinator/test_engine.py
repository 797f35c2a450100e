"""The engine without a network: what must hold whichever call is cut off, and whenever."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from tests.server.coordinator.conftest import PATIENCE_S, SHAPES, engine_of, journalled, until
from tests.strategies.served import sent as sent_delta

from antiphon.core import fault_points
from antiphon.core.clock import VirtualClock
from antiphon.core.events import (
    MEASURING,
    TRAINING,
    ClientFailed,
    Evaluated,
    RoundEvaluated,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.types import Update
from antiphon.core.wire import pack_update, update_blob
from antiphon.server.coordinator.desk import InHand, Measuring, Training, Withdrawn
from antiphon.server.coordinator.engine import Engine

ROUND = InHand(1)
ONE_OF_TWO = ("rounds=1", "cohort.quorum=1", "cohort.deadline_s=50")


def message_of(engine: Engine, client: str, number: int = 1) -> bytes:
    """An update whose blob is spooled, as far as the engine can tell."""
    delta = {name: np.full(shape, 0.01, np.float32) for name, shape in SHAPES.items()}
    packed = pack_update(Update(client, number, 10, 1, sent_delta(delta)), engine.federation.run_id)
    spool(engine, client, packed)
    return packed.message


def spool(engine: Engine, client: str, packed) -> None:
    blob = update_blob(packed.message)
    file = engine.federation.folder.upload_file(client, blob.sha256)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(packed.joined)


async def opened(engine: Engine, *clients: str) -> None:
    """Let clients join, and wait until each has its part of round 1."""
    await until(lambda: engine.federation.machine.phase != "new")
    for client in clients:
        await engine.join(client, 10)
    await until(lambda: engine.desk.all_of(Training) == sorted(clients))


async def delivered(engine: Engine, *clients: str) -> None:
    """Let clients deliver, and wait until they are asked to measure."""
    for client in clients:
        await engine.update(client, message_of(engine, client))
    await until(lambda: engine.desk.all_of(Measuring) == sorted(clients))


def measuring(engine: Engine) -> set[str]:
    """Who is waited for with a measurement."""
    slots = engine.federation.machine.measuring.items()
    return {client for client, slot in slots if slot.status == "assigned"}


def commits_held(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Stop the next commit after its events were stepped; return `reached` and `go_on`."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(step):
        if step == "events stepped":
            reached.set()
            assert go_on.wait(PATIENCE_S)

    monkeypatch.setattr(fault_points, "_hooks", [hold])
    return reached, go_on


async def is_held(waiting: asyncio.Future) -> bool:
    """Whether a call is still not answered after the loop has had all it could do."""
    await asyncio.wait([waiting], timeout=0.1)
    return not waiting.done()


def test_the_older_of_two_waiting_calls_is_answered_at_once(new_federation):
    """A client on a new line leaves a call behind: it ends, and the two do not wake each other for ever."""

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await until(lambda: federation.machine.phase != "new")
            await engine.join("north", 10)
            older = asyncio.ensure_future(engine.next_task("north", PATIENCE_S, None))
            await asyncio.sleep(0)
            newer = asyncio.ensure_future(engine.next_task("north", PATIENCE_S, None))
            answer = await asyncio.wait_for(older, 1.0)
            held = await is_held(newer)
            newer.cancel()
            return answer, held

    with new_federation() as federation:
        assert asyncio.run(scenario(federation)) == (None, True)


def test_a_repeated_update_is_not_acknowledged_before_the_first_is_committed(
    new_federation, monkeypatch
):
    """The machine has seen it, the disk has not: neither of the two copies is answered."""

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")
            message = message_of(engine, "north")
            reached, go_on = commits_held(monkeypatch)
            first = asyncio.ensure_future(engine.update("north", message))
            await asyncio.to_thread(reached.wait, PATIENCE_S)
            second = asyncio.ensure_future(engine.update("north", message))
            held = await is_held(second)
            go_on.set()
            return held, (await first).verdict, (await second).verdict

    with new_federation() as federation:
        assert asyncio.run(scenario(federation)) == (True, "accepted", "duplicate")


def test_a_repeated_update_is_a_duplicate_though_its_blob_is_gone(new_federation):
    """What was spooled is removed once it counts: the copy that was on its way meanwhile counts as it."""

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")
            message = message_of(engine, "north")
            blob = update_blob(message)
            first = await engine.update("north", message)
            federation.folder.upload_file("north", blob.sha256).unlink()
            return first.verdict, (await engine.update("north", message)).verdict

    with new_federation() as federation:
        verdicts = asyncio.run(scenario(federation))

        assert verdicts == ("accepted", "duplicate")
        assert len(journalled(federation.folder, UpdateReceived)) == 1
        assert journalled(federation.folder, UpdateRejected) == []


def test_an_evaluation_ends_though_its_last_caller_is_cut_off(new_federation, monkeypatch):
    """Its measurement is taken: nobody is waited for, so the run goes on."""

    async def scenario(federation):
        async with engine_of(federation, min_clients=1) as engine:
            await opened(engine, "north")
            await delivered(engine, "north")
            reached, go_on = commits_held(monkeypatch)
            call = asyncio.ensure_future(engine.measured(Evaluated(1, "north", 20, loss=2.0)))
            await asyncio.to_thread(reached.wait, PATIENCE_S)
            call.cancel()
            go_on.set()
            await until(lambda: engine.over is not None)

    with new_federation("rounds=1", "cohort.min_clients=1") as federation:
        asyncio.run(scenario(federation))

        assert [e.loss for e in journalled(federation.folder, Evaluated)] == [2.0]
        assert journalled(federation.folder, RoundEvaluated)[-1].metrics == {"loss": 2.0}


def test_an_evaluation_ends_at_its_deadline(new_federation):
    """Who has not measured by then is left out of the mean."""
    clock = VirtualClock()

    async def scenario(federation):
        async with engine_of(federation, clock) as engine:
            await opened(engine, "north", "south")
            await delivered(engine, "north", "south")
            await engine.measured(Evaluated(1, "south", 20, loss=3.0))
            clock.advance_to(100.0)
            await until(lambda: engine.over is not None)
            return await engine.measured(Evaluated(1, "north", 20, loss=9.0))

    with new_federation("rounds=1", "evaluation.deadline_s=50", clock=clock) as federation:
        late = asyncio.run(scenario(federation))

        assert not late
        assert journalled(federation.folder, RoundEvaluated)[-1].metrics == {"loss": 3.0}


def test_a_failure_in_an_old_evaluation_leaves_the_open_one(new_federation):
    """A word that comes late takes no client out of the measuring that goes on now."""

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")
            await delivered(engine, "north", "south")
            await engine.failed("north", 0, MEASURING, reason="late")
            kept = measuring(engine)
            await engine.failed("north", 1, MEASURING, reason="no memory")
            return kept, measuring(engine)

    with new_federation("rounds=1") as federation:
        assert asyncio.run(scenario(federation)) == ({"north", "south"}, {"south"})


def test_the_measuring_of_one_who_leaves_is_not_waited_for(new_federation):
    """The last one that is waited for says goodbye: the run goes on without its measurement."""

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")
            await delivered(engine, "north", "south")
            await engine.measured(Evaluated(1, "south", 20, loss=3.0))
            await engine.leave("north", "")
            await until(lambda: engine.over is not None)

    with new_federation("rounds=1") as federation:
        asyncio.run(scenario(federation))

        assert journalled(federation.folder, RoundEvaluated)[-1].metrics == {"loss": 3.0}


def test_a_client_that_is_back_goes_on_with_what_it_has_in_hand(new_federation):
    """Its lease ran out while it trained: the call that brings it back does not cancel its work."""

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")
            await engine.leave("north", "no sign of life")
            answer = await engine.next_task("north", 0.0, ROUND)
            return answer, (await engine.update("north", message_of(engine, "north"))).verdict

    with new_federation() as federation:
        assert asyncio.run(scenario(federation)) == (None, "accepted")


def test_a_new_coordinator_does_not_cancel_what_clients_have_in_hand(new_federation):
    """The first call after a restart finds the round open, before any task lies on the desk."""

    async def before(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")

    async def after(federation):
        async with engine_of(federation) as engine:
            return await engine.next_task("north", 0.0, ROUND)

    with new_federation() as federation:
        asyncio.run(before(federation))
    with new_federation(folder=federation.folder) as federation:
        assert asyncio.run(after(federation)) is None


def test_a_client_at_work_hears_that_its_round_has_closed(new_federation):
    """The call that it waits in is answered when the deadline closes the round without it."""
    clock = VirtualClock()

    async def scenario(federation):
        async with engine_of(federation, clock) as engine:
            await opened(engine, "north", "south")
            waiting = asyncio.ensure_future(engine.next_task("south", PATIENCE_S, ROUND))
            await engine.update("north", message_of(engine, "north"))
            clock.advance_to(100.0)
            return await asyncio.wait_for(waiting, PATIENCE_S)

    with new_federation(*ONE_OF_TWO, clock=clock) as federation:
        answer = asyncio.run(scenario(federation))

        assert answer == Withdrawn(1, "the round has closed without it")


def test_who_has_delivered_is_not_cancelled(new_federation):
    """Between the delivery and the next task, a client that still names its round may go on waiting."""

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")
            await engine.update("north", message_of(engine, "north"))
            return await engine.next_task("north", 0.0, ROUND)

    with new_federation() as federation:
        assert asyncio.run(scenario(federation)) is None


def test_a_failure_is_journalled_and_the_client_is_not_waited_for(new_federation):
    """A client that cannot do its part costs the round no time."""

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")
            await engine.failed("north", 1, TRAINING, reason="no memory")
            await engine.update("south", message_of(engine, "south"))
            await until(lambda: engine.federation.machine.phase == "evaluating")

    with new_federation("cohort.quorum=1") as federation:
        asyncio.run(scenario(federation))

        assert journalled(federation.folder, ClientFailed) == [
            ClientFailed("north", 1, "no memory")
        ]


def test_an_update_of_a_closed_round_is_late_and_costs_nothing(new_federation):
    """Handed in without its blob while another round is open: the client keeps its part of that one."""
    clock = VirtualClock()

    async def scenario(federation):
        async with engine_of(federation, clock) as engine:
            await opened(engine, "north", "south")
            old = message_of(engine, "south")
            federation.folder.upload_file("south", update_blob(old).sha256).unlink()
            clock.advance_to(100.0)
            await until(lambda: "south" in federation.machine.cohort and engine.round == 2)
            reply = await engine.update("south", old)
            return reply.verdict, federation.machine.cohort["south"].status

    with new_federation("cohort.deadline_s=50", clock=clock) as federation:
        assert asyncio.run(scenario(federation)) == ("late", "assigned")


@pytest.mark.parametrize("call", ["join", "failed", "leave"])
def test_after_the_end_nothing_is_written(new_federation, call):
    """A run that is over takes no word any more."""
    arguments = {
        "join": ("east", 10),
        "failed": ("north", 1, TRAINING, "why"),
        "leave": ("north", ""),
    }

    async def scenario(federation):
        async with engine_of(federation) as engine:
            await opened(engine, "north", "south")
        with pytest.raises(Exception, match="has ended"):
            await getattr(engine, call)(*arguments[call])

    with new_federation() as federation:
        asyncio.run(scenario(federation))
