"""Tasks on the desk, and the calls that wait for them."""

from __future__ import annotations

import asyncio

from antiphon.core.blob import Blob
from antiphon.core.events import MEASURING, TRAINING
from antiphon.server.coordinator.desk import Desk, Measuring, Training

MODEL = Blob("00" * 32, 1, "safetensors")
LONG_S = 20.0


def training(number: int = 1) -> Training:
    return Training(number, b"", MODEL, deadline=0.0)


def measuring(number: int = 1) -> Measuring:
    return Measuring(number, MODEL, deadline=0.0)


def test_a_task_replaces_the_one_before():
    """A client has one task: the last that it was given."""
    desk = Desk()

    desk.give("north", training(1))
    desk.give("north", measuring(1))

    assert desk.task_of("north") == measuring(1)
    assert (desk.all_of(Training), desk.all_of(Measuring)) == ([], ["north"])


def test_only_the_named_task_is_taken_back():
    """A word about another round, or another kind of task, leaves the task where it is."""
    desk = Desk()
    desk.give("north", training(2))

    desk.take_back("north", TRAINING, 1)
    desk.take_back("north", MEASURING, 2)
    desk.take_back("south", TRAINING, 2)
    kept = desk.task_of("north")
    desk.take_back("north", TRAINING, 2)

    assert kept == training(2)
    assert desk.task_of("north") is None


def test_a_new_task_ends_the_wait():
    """Whoever waits hears of a task at once, and only its own client does."""

    async def scenario():
        desk = Desk()
        north, south = (asyncio.ensure_future(desk.changed(n, LONG_S)) for n in ("north", "south"))
        await asyncio.sleep(0)
        desk.give("north", training())
        await asyncio.wait_for(north, 1.0)
        waits = not south.done()
        south.cancel()
        return waits

    assert asyncio.run(scenario())


def test_a_task_taken_back_ends_the_wait():
    """A client at work hears that its task is not wanted any more."""

    async def scenario():
        desk = Desk()
        desk.give("north", training())
        waiting = asyncio.ensure_future(desk.changed("north", LONG_S))
        await asyncio.sleep(0)
        desk.take_back("north", TRAINING, 1)
        return await asyncio.wait_for(waiting, 1.0)

    assert asyncio.run(scenario())


def test_the_wait_ends_when_its_time_is_up():
    """A call that nothing happens to is still the one that is to be answered."""

    async def scenario():
        return await Desk().changed("north", 0.01)

    assert asyncio.run(scenario())


def test_the_newest_call_of_a_client_waits_alone():
    """A second call ends the first and tells it so; a task then reaches the second."""

    async def scenario():
        desk = Desk()
        first = asyncio.ensure_future(desk.changed("north", LONG_S))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(desk.changed("north", LONG_S))
        superseded = not await asyncio.wait_for(first, 1.0)
        waits = not second.done()
        desk.give("north", training())
        return superseded, waits, await asyncio.wait_for(second, 1.0)

    assert asyncio.run(scenario()) == (True, True, True)


def test_a_call_that_is_cut_off_leaves_nothing_behind():
    """A cancelled wait neither hears nor hides what comes after it."""

    async def scenario():
        desk = Desk()
        cut = asyncio.ensure_future(desk.changed("north", LONG_S))
        await asyncio.sleep(0)
        cut.cancel()
        await asyncio.wait([cut])
        again = asyncio.ensure_future(desk.changed("north", LONG_S))
        await asyncio.sleep(0)
        desk.wake_all()
        return await asyncio.wait_for(again, 1.0)

    assert asyncio.run(scenario())
