"""What one client may cause in a minute: by the fact, and where the service asks."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from tests.server.coordinator.conftest import journalled, refusal, sites

from antiphon.core.channel import RETRY_AFTER
from antiphon.core.clock import VirtualClock
from antiphon.core.events import ClientJoined, ClientLeft
from antiphon.server.coordinator import allowance
from antiphon.server.coordinator.allowance import Allowance
from antiphon.v1 import coordinator_pb2 as pb

UP, DOWN = ("up", "update"), ("down", "model")


@pytest.fixture
def clock() -> VirtualClock:
    """A clock at zero."""
    return VirtualClock(0.0)


def test_so_many_and_no_more(clock):
    """A client may cause as many events at once as in a minute; others have their own."""
    few = Allowance(clock.now, 6)

    waits = [few.wait_s("edge") for _ in range(7)]

    assert waits == [0.0] * 6 + [10.0]
    assert few.wait_s("other") == 0.0


def test_time_gives_back(clock):
    """After the time that it was told, the client is let in, once."""
    few = Allowance(clock.now, 6)
    few.wait_s("edge", 6)
    wait = few.wait_s("edge", 2)
    clock.advance_to(wait)

    assert (wait, few.wait_s("edge", 2), few.wait_s("edge", 2)) == (20.0, 0.0, 20.0)


def test_what_is_more_than_a_minute_has_is_possible(clock):
    """What counts for more than a whole minute is let in when one is left, and paid for afterwards."""
    few = Allowance(clock.now, 6)

    assert few.wait_s("edge", 20) == 0.0
    assert few.wait_s("edge") > 60.0


def test_bytes_are_journalled_at_once(clock):
    """Within a client's minute, what has moved is journalled as it was."""
    few = Allowance(clock.now, 6)

    assert few.moved("edge", Counter({UP: 5, DOWN: 0})) == Counter({UP: 5})


def test_no_byte_is_lost(clock):
    """Beyond it, bytes are added up, and journalled in one line when there is room again."""
    few = Allowance(clock.now, 2)

    lines = [few.moved("edge", Counter({UP: 1})) for _ in range(1_000)]
    clock.advance_to(60.0)
    lines.append(few.moved("edge", Counter({DOWN: 7})))

    assert [line for line in lines if line] == [
        Counter({UP: 1}), Counter({UP: 1}), Counter({UP: 998, DOWN: 7}),
    ]  # fmt: skip


def test_joining_and_leaving_again_and_again(serve, monkeypatch):
    """A client that has filled its minute is told when to come back, and the journal stays as it was."""
    monkeypatch.setattr(allowance, "A_MINUTE", 8.0)

    async def scenario():
        async with serve("cohort.min_clients=2") as running, sites(running, "mallory") as (site,):
            for _ in range(2):
                await site.join()
                await site.stub.Leave(pb.LeaveRequest(run_id=site.run_id))
            call = site.stub.Leave(pb.LeaveRequest(run_id=site.run_id))
            code, _ = await refusal(call)
            events = journalled(running.folder)
            return code, dict(await call.trailing_metadata())[RETRY_AFTER], events

    code, retry_ms, events = asyncio.run(scenario())

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 0 < int(retry_ms) <= 60_000
    assert sum(isinstance(each, ClientJoined | ClientLeft) for each in events) == 4
