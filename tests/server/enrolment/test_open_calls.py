"""How many calls one caller may have, and which of them goes: by the fact, without a network."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.core.clock import VirtualClock
from antiphon.server.enrolment.open_calls import OpenCalls, TooMany


class Switchboard:
    """Calls that are handled until they are cut off; `reasons` by number, in the order of their end."""

    def __init__(self, each: int = 3, total: int = 10) -> None:
        self.clock = VirtualClock(0.0)
        self.calls = OpenCalls(self.clock.now, each=each, total=total)
        self.reasons: dict[int, str] = {}
        self.tasks: list[asyncio.Task] = []

    async def open(self, caller: str, *, message: bool = False) -> None:
        """Begin a call, and let it send a message or none."""

        async def handled(number: int) -> None:
            try:
                with self.calls.opened(caller) as call:
                    if message:
                        self.calls.arrived(call)
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        self.reasons[number] = call.end.reason if call.end else ""
            except TooMany as error:
                self.reasons[number] = str(error)

        self.tasks.append(asyncio.ensure_future(handled(len(self.tasks))))
        for _ in range(3):
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Let what was cut off end."""
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def switchboard():
    """Run a scenario with a switchboard of small budgets."""

    def run(scenario, **budgets):
        async def whole():
            board = Switchboard(**budgets)
            answer = await scenario(board)
            await board.settle()
            reasons = dict(board.reasons)
            for task in board.tasks:
                task.cancel()
            await asyncio.gather(*board.tasks, return_exceptions=True)
            return answer, reasons, board

        return asyncio.run(whole())

    return run


def test_oldest_half_open_call_goes(switchboard):
    """The call beyond a caller's budget is let in, and the caller's oldest half-open one ends."""

    async def scenario(board):
        for _ in range(4):
            await board.open("edge")

    _, reasons, _ = switchboard(scenario)

    assert list(reasons) == [0]
    assert "edge has 3 calls open" in reasons[0]


def test_two_thousand_half_open_calls(switchboard):
    """However many calls one caller begins, its budget is open, and others are let in beside it."""

    async def scenario(board):
        for _ in range(2_000):
            await board.open("flood")
        await board.open("edge", message=True)
        return [call.caller for call in board.calls]

    callers, reasons, _ = switchboard(scenario)

    assert sorted(callers) == ["edge", "flood", "flood", "flood"]
    assert len(reasons) == 1_997


def test_calls_with_a_message_stay(switchboard):
    """Where all of a caller's calls have sent something, the next one is refused, and none ends."""

    async def scenario(board):
        for _ in range(4):
            await board.open("edge", message=True)

    _, reasons, _ = switchboard(scenario)

    assert list(reasons) == [3]
    assert "try again later" in reasons[3]


def test_total(switchboard):
    """Where all together have too many, the oldest half-open call of anybody goes."""

    async def scenario(board):
        await board.open("one", message=True)
        for name in ("two", "three", "four"):
            await board.open(name)
        return [call.caller for call in board.calls]

    callers, reasons, _ = switchboard(scenario, each=2, total=3)

    assert sorted(callers) == ["four", "one", "three"]
    assert list(reasons) == [1]


def test_expires(switchboard):
    """A call that has sent nothing within ten seconds is ended; one that has goes on."""

    async def scenario(board):
        await board.open("edge", message=True)
        await board.open("edge")
        board.clock.advance_to(9.9)
        board.calls.expire()
        before = len(list(board.calls))
        board.clock.advance_to(10.0)
        board.calls.expire()
        return before, len(list(board.calls))

    counts, reasons, _ = switchboard(scenario)

    assert counts == (2, 1)
    assert reasons == {1: "no message within 10 s: send it with the call"}


def test_nothing_is_kept(switchboard):
    """Calls that have ended leave nothing behind."""

    async def scenario(board):
        for name in ("one", "two"):
            await board.open(name)

    *_, board = switchboard(scenario)

    assert list(board.calls) == []
    assert (board.calls._of, board.calls._half_open, board.calls._count) == ({}, {}, 0)
