"""At the door: who does not fit the run is refused with a reason."""

from __future__ import annotations

import asyncio
import math

import grpc
import pytest
from tests.server.coordinator.conftest import SHAPES, journalled, refusal, sites, until

from antiphon.core.events import ClientDescribed, ClientJoined
from antiphon.v1 import coordinator_pb2 as pb


def space(shapes=SHAPES, digest: bytes = b"\1" * 32, **fields) -> pb.SpaceReport:
    factors = [pb.MatrixShape(name=n, rows=r, columns=c) for n, (r, c) in shapes.items()]
    return pb.SpaceReport(factors=factors, model_parameters=48, model_digest=digest, **fields)


REFUSED = {
    "other run": ({"run_id": "elsewhere"}, "run 'elsewhere' with config"),
    "other config": ({"config_hash": "0" * 1000}, "say Hello again"),
    "no examples": ({"examples": 0}, "0 training examples"),
    "a long name": ({"space": space({"x" * 70_000: (4, 4)})}, "is not possible"),
    "more than memory": (
        {"space": space({f"m{number}": (2**20, 2**20) for number in range(9)})},
        "but an upload has",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_first_client_is_refused_what_no_run_can_be(serve, what):
    """It reads why; nothing is written down, and the next client begins the run."""
    changes, reason = REFUSED[what]

    async def scenario():
        async with serve() as running, sites(running, "mallory", "north") as (mallory, north):
            refused = await refusal(mallory.join(**changes))
            written = running.folder.space_file.exists()
            await north.join()
            return refused, written

    (code, said), written = asyncio.run(scenario())

    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert said.startswith("refused: ")
    assert reason in said
    assert not written
    assert len(said) < 500


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (space({**SHAPES, "m.lora_A.weight": (4, 7)}), "other shapes than this client's model"),
        (space(digest=b"\2" * 32), "has the weights 0202020202020202…"),
    ],
)
def test_a_client_with_another_base_model_is_refused(serve, other, reason):
    """It reads what differs from the run."""

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as (north, south):
            await north.join()
            return await refusal(south.join(space=other))

    code, said = asyncio.run(scenario())

    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert reason in said


def test_a_client_that_draws_other_directions_is_refused(serve):
    """A seeds run needs the same random bits everywhere; the reason names the draw."""
    drawn = pb.Capabilities(golden={"philox": "00"})

    async def scenario():
        async with serve("method=seeds") as running, sites(running, "north") as (north,):
            return await refusal(north.join(capabilities=drawn))

    code, said = asyncio.run(scenario())

    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "draws other random directions" in said


def test_what_a_client_says_of_itself_is_cut(serve):
    """Facts are for people: long ones are cut, odd numbers do no harm."""
    told = pb.Capabilities(
        device_name="x" * 5000,
        tokens_per_s=math.nan,
        memory_bytes=2**64 - 1,
        libraries={f"lib{number}": "y" * 5000 for number in range(100)},
        golden={},
    )

    async def scenario():
        async with serve() as running, sites(running, "north") as (north,):
            await north.join(capabilities=told)
            await until(lambda: journalled(running.folder, ClientDescribed))
            return journalled(running.folder, ClientDescribed)

    (described,) = asyncio.run(scenario())

    assert described.facts["device_name"] == "x" * 200
    assert len(str(described.facts["libraries"])) < 33 * 202
    assert math.isnan(described.facts["tokens_per_s"])


def test_clients_that_come_first_together_begin_one_run(serve):
    """The door lets one in at a time."""

    async def scenario():
        names = ["north", "south", "east", "west"]
        async with serve() as running, sites(running, *names) as members:
            await asyncio.gather(*(site.join() for site in members))
            return sorted(e.client for e in journalled(running.folder, ClientJoined))

    assert asyncio.run(scenario()) == ["east", "north", "south", "west"]


def test_a_run_that_cannot_begin_ends_the_coordinator(serve):
    """The first client does not wait for ever, and the operator reads why."""

    async def scenario():
        async with serve() as running, sites(running, "north") as (north,):
            (running.folder.path / "rounds").write_text("in the way")
            code, _ = await refusal(north.join())
            await asyncio.wait([running.task], timeout=5.0)
            return code, running.task.done()

    with pytest.raises(OSError, match="rounds"):
        asyncio.run(scenario())
