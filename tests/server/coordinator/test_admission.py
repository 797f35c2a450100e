"""At the door: who does not fit the run is refused with a reason."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.coordinator.conftest import SHAPES, journalled, refusal, sites, until

from antiphon.core import golden
from antiphon.core.events import ClientDescribed, ClientJoined
from antiphon.server.coordinator.admission import Admission, Held, Refused
from antiphon.v1 import coordinator_pb2 as pb


def space(shapes=SHAPES, digest: bytes = b"\1" * 32, **fields) -> pb.SpaceReport:
    factors = [pb.MatrixShape(name=n, rows=r, columns=c) for n, (r, c) in shapes.items()]
    return pb.SpaceReport(factors=factors, model_parameters=48, model_digest=digest, **fields)


LARGE = {"A": (4, 2**20), "B": (2**20, 4)}
REFUSED = {
    "other run": ({"run_id": "elsewhere"}, "run 'elsewhere' with config"),
    "other config": ({"config_hash": "0" * 1000}, "say Hello again"),
    "too many examples": ({"examples": 2**50}, "training examples, expected at most"),
    "a long name": ({"space": space({"x" * 70_000: (4, 4)})}, "is not possible"),
    "a factor without a pair": ({"space": space({"x": (4, 64)})}, "factor 'x': expected a name"),
    "another rank": (
        {"space": space({"m.lora_A.weight": (8, 6), "m.lora_B.weight": (8, 8)})},
        "the ranks 8 and 8, the run's is 4",
    ),
    "more than memory": (
        {
            "space": space(
                {f"m{n}.lora_{f}.weight": s for n in range(200) for f, s in LARGE.items()}
            )
        },
        "but an upload has",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_first_client_is_refused_what_no_run_can_be(serve, what):
    """It reads why; nothing is written down, and the next client begins the run."""
    changes, reason = REFUSED[what]

    async def scenario():
        async with (
            serve("cohort.min_clients=1", fixed=False) as running,
            sites(running, "mallory", "north") as (mallory, north),
        ):
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


def test_liars_below_the_majority_neither_open_the_run_nor_keep_anybody_out(serve):
    """Two of five come first and say the same, which is possible and false; the honest three begin."""
    false = space({"m.lora_A.weight": (4, 7), "m.lora_B.weight": (8, 4)})

    async def scenario():
        names = ["mallory", "eve", "north", "south", "west"]
        async with (
            serve("cohort.min_clients=5", fixed=False) as running,
            sites(running, *names) as (mallory, eve, *honest),
        ):
            door = running.coordinator.admission
            lies = [
                asyncio.ensure_future(refusal(each.join(space=false))) for each in (mallory, eve)
            ]
            await until(lambda: sum(door.candidates.claims().values()) == 2)
            why = running.coordinator.status()["why"]
            await asyncio.gather(*(site.join() for site in honest))
            return await asyncio.gather(*lies), why, journalled(running.folder, ClientJoined)

    refused, why, joined = asyncio.run(scenario())

    assert {code for code, _ in refused} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert all("other shapes" in said for _, said in refused)
    assert "until 3 clients say the same of their base model: 2 do" in why
    assert {each.client for each in joined} == {"north", "south", "west"}


def test_a_candidate_is_told_to_knock_again(serve):
    """Its call is held for a while, and ends with a status that clients take as a pause."""

    async def scenario():
        async with (
            serve("cohort.min_clients=3", fixed=False) as running,
            sites(running, "north") as (north,),
        ):
            running.coordinator.admission._hold_s = 0.05
            refused = await refusal(north.join())
            return refused, running.folder.space_file.exists()

    (code, said), written = asyncio.run(scenario())

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert said.startswith("1 of the 2 clients that must say the same")
    assert not written


def test_a_coordinator_that_ends_lets_its_candidates_go(serve):
    """A held call is answered at once, not after its hold."""

    async def scenario():
        async with (
            serve("cohort.min_clients=3", fixed=False) as running,
            sites(running, "north") as (north,),
        ):
            held = asyncio.ensure_future(refusal(north.join()))
            await until(running.coordinator.admission.candidates.claims)
            running.coordinator.stop()
            return await held

    code, _ = asyncio.run(scenario())

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_what_the_operator_has_fixed_is_the_run(serve):
    """Whoever says otherwise is refused, also where all of them do."""
    false = space({"m.lora_A.weight": (4, 7), "m.lora_B.weight": (8, 4)})

    async def scenario():
        async with serve() as running, sites(running, "mallory", "eve") as liars:
            return [await refusal(each.join(space=false)) for each in liars]

    codes = {code for code, _ in asyncio.run(scenario())}

    assert codes == {grpc.StatusCode.FAILED_PRECONDITION}


def false_spaces() -> st.SearchStrategy[pb.SpaceReport]:
    """Names and shapes of any kind, paired and unpaired, with ranks that fit and that do not."""
    ends = st.sampled_from([".lora_A.weight", ".lora_B.weight", "", ".weight"])
    names = st.tuples(st.sampled_from(["m", "n", "", "x.y", "base_model.model.m"]), ends)
    sides = st.sampled_from([0, 1, 4, 6, 8, 64, 2**20, 2**31])
    matrices = st.lists(st.tuples(names.map("".join), sides, sides), max_size=4)
    return st.builds(_report, matrices, matrices, st.binary(max_size=33), st.integers(0, 2**64 - 1))


def _report(factors, weights, digest: bytes, parameters: int) -> pb.SpaceReport:
    told = pb.SpaceReport(model_parameters=parameters, model_digest=digest)
    for field, matrices in ((told.factors, factors), (told.weights, weights)):
        for name, rows, columns in matrices:
            field.add(name=name, rows=rows, columns=columns)
    return told


@given(lies=st.lists(false_spaces(), min_size=2, max_size=2))
@settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # it only makes configs
)
def test_no_lie_is_written_down_nor_keeps_the_honest_out(tiny_config, lies):
    """Whatever two of five say first, alike or not: the run opens on what the honest three say."""
    config = tiny_config("lora.r=4", "cohort.min_clients=5")
    opened = []

    async def opening(space):
        opened.append(space)
        raise Opened

    door = Admission(config, "run", opening, lambda: 1 << 20, now=lambda: 0.0, hold_s=0.0)
    told = [*lies, *[space()] * 3]

    async def scenario():
        for number, each in enumerate(told):
            join = pb.JoinRequest(
                run_id="run", config_hash=door.config_hash, examples=1, space=each
            )
            with suppress(Refused, Held, Opened):
                await door.join(f"client-{number}", join)

    asyncio.run(scenario())

    assert [each.factors for each in opened] == [SHAPES]


class Opened(Exception):
    """The run would begin now."""


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (
            space({"m.lora_A.weight": (4, 7), "m.lora_B.weight": (8, 4)}),
            "other shapes than this client's model",
        ),
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


def test_a_client_whose_base_the_run_cannot_use_is_refused(serve):
    """The coordinator knows what bases can do, as far as they are installed there too."""
    told = pb.Capabilities(base="bfloat16", golden=dict(golden.GOLDEN))

    async def scenario():
        serving = serve("method=seeds", "seeds.space=weights")
        async with serving as running, sites(running, "north") as (north,):
            return await refusal(north.join(capabilities=told))

    code, said = asyncio.run(scenario())

    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "base bfloat16 does not give weights that keep small steps" in said


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
        async with serve(fixed=False) as running, sites(running, *names) as members:
            await asyncio.gather(*(site.join() for site in members))
            return sorted(e.client for e in journalled(running.folder, ClientJoined))

    assert asyncio.run(scenario()) == ["east", "north", "south", "west"]


def test_a_run_that_cannot_begin_ends_the_coordinator(serve):
    """The first client does not wait for ever, and the operator reads why."""

    async def scenario():
        async with (
            serve("cohort.min_clients=1", fixed=False) as running,
            sites(running, "north") as (north,),
        ):
            (running.folder.path / "rounds").write_text("in the way")
            code, _ = await refusal(north.join())
            await asyncio.wait([running.task], timeout=5.0)
            return code, running.task.done()

    with pytest.raises(OSError, match="rounds"):
        asyncio.run(scenario())
