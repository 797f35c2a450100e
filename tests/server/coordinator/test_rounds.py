"""Whole rounds over mutual TLS, with clients that do as they are told."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np
import pytest
from tests.server.coordinator.conftest import SHAPES, journalled, refusal, sites, until

from antiphon.core.clock import SteadyClock
from antiphon.core.coefficients import coefficients_of
from antiphon.core.directions import run_key
from antiphon.core.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    RoundEvaluated,
    RoundFolded,
    UpdateReceived,
)
from antiphon.core.run_folder import RunFolder
from antiphon.core.tensors import LazyTensors
from antiphon.core.types import Package
from antiphon.core.wire import unpack_assignment, update_blob
from antiphon.strategies.seed_space import Directions, total
from antiphon.v1 import coordinator_pb2 as pb

VERDICT = pb.SubmitUpdateResponse
SHORT = ("rounds=1", "cohort.quorum=1", "cohort.deadline_s=0.7", "engine.step_s=0.1")


def adapter(folder: RunFolder, number: int) -> LazyTensors:
    """The adapter after a round, as it was saved."""
    return LazyTensors(folder.adapter(number) / "adapter_model.safetensors")


async def joined(*members) -> None:
    for site in members:
        await site.join()


async def measured(*members, losses=(2.0, 2.0)) -> None:
    await asyncio.gather(*(s.measure(loss) for s, loss in zip(members, losses, strict=True)))


async def both_work(*members) -> None:
    await asyncio.gather(*(site.work_a_round() for site in members))


@pytest.mark.parametrize("method", ["lora", "seeds"])
def test_a_run_goes_from_join_to_report(serve, method):
    """Two clients train two rounds and measure after each; both hear that the run is complete."""

    async def scenario():
        async with serve(f"method={method}", "rounds=2") as running:
            async with sites(running, "north", "south") as both:
                await joined(*both)
                for _ in range(2):
                    await both_work(*both)
                    await measured(*both)
                over = await asyncio.gather(*(site.next("over") for site in both))
                await running.task
            return over, json.loads(running.folder.report_json.read_text())

    over, report = asyncio.run(scenario())

    assert [each.complete for each in over] == [True, True]
    assert report["complete"]
    assert [each["accepted"] for each in report["rounds"]] == [["north", "south"]] * 2


def test_a_spent_budget_ends_a_run_well(serve):
    """A run whose policy ends it after a round is complete, and its clients hear so."""
    budget = "policy={kind: adaptive, bytes: 29_000}"

    async def scenario():
        async with serve("method=seeds", "rounds=2", budget) as running:
            async with sites(running, "north", "south") as both:
                await joined(*both)
                await both_work(*both)
                await measured(*both)
                over = await asyncio.gather(*(site.next("over") for site in both))
                await running.task
            return over, running.folder.is_complete()

    over, complete = asyncio.run(scenario())

    assert complete
    assert [each.complete for each in over] == [True, True]
    assert over[0].reason.startswith("stopped by policy: the budget is used up")


def test_an_update_counts_once_however_often_it_is_sent(serve):
    """The first answer may be lost: the same bytes are a duplicate, and no second event."""

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as both:
            await joined(*both)
            packed = both[0].update((await both[0].next("train")).assignment)
            answers = [await both[0].deliver(packed) for _ in range(3)]
            return answers, journalled(running.folder, UpdateReceived)

    answers, received = asyncio.run(scenario())

    assert [a.verdict for a in answers] == [VERDICT.ACCEPTED, VERDICT.DUPLICATE, VERDICT.DUPLICATE]
    assert len(received) == 1


def test_a_client_delivers_one_update_to_a_round(serve):
    """Another one after it is refused with the reason, without asking for its blob."""

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as both:
            await joined(*both)
            task = await both[0].next("train")
            await both[0].deliver(both[0].update(task.assignment))
            return await both[0].submit(both[0].update(task.assignment, value=0.5).message)

    answer = asyncio.run(scenario())

    assert answer.verdict == VERDICT.REJECTED
    assert "another update for round 1 has been accepted" in answer.reason


def test_a_round_closes_at_its_deadline_with_the_quorum(serve):
    """Who is slow is late, and told so; the round was folded from the others."""

    async def scenario():
        async with serve(*SHORT) as running, sites(running, "north", "south") as (north, south):
            await joined(north, south)
            packed = south.update((await south.next("train")).assignment)
            await south.submit(packed.message)
            await south.upload(packed.joined, update_blob(packed.message))
            await north.work_a_round()
            await north.next("evaluate")
            return await south.submit(packed.message), journalled(running.folder)

    answer, events = asyncio.run(scenario())

    assert (answer.verdict, answer.reason) == (VERDICT.LATE, "round 1 is closed")
    assert any(isinstance(each, RoundFolded) for each in events)


def test_a_clock_that_is_set_back_keeps_no_round_open(serve):
    """The system's clock goes back by an hour in the middle of a round: it closes at its deadline."""
    wall_s = [time.time()]

    async def scenario():
        clock = SteadyClock(lambda: wall_s[0])
        async with serve(*SHORT, clock=clock) as running, sites(running, "north", "south") as both:
            await joined(*both)
            await both[0].work_a_round()
            wall_s[0] -= 3600.0
            await both[0].next("evaluate")
            return journalled(running.folder)

    events = asyncio.run(scenario())

    assert any(isinstance(each, RoundFolded) for each in events)


def test_who_leaves_and_is_back_gets_its_part_again(serve):
    """A member of the cohort that joins again works on the same round."""

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as (north, south):
            await joined(north, south)
            before = await south.next("train")
            await south.stub.Leave(pb.LeaveRequest(run_id=south.run_id, reason="a break"))
            await south.join()
            after = await south.next("train")
            return before.assignment, after.assignment, journalled(running.folder, ClientLeft)

    before, after, left = asyncio.run(scenario())

    assert before == after
    assert left == [ClientLeft("south", "a break")]


def test_a_silent_client_is_gone_and_the_round_goes_on(serve):
    """Its lease runs out: the quorum of the others is enough before any deadline."""

    async def scenario():
        async with serve("rounds=1", "cohort.quorum=1", lease_s=0.6) as running:
            async with sites(running, "north", "south") as (north, south):
                await joined(north, south)
                await north.work_a_round()
                await north.next("evaluate")
            return journalled(running.folder, ClientLeft)

    left = asyncio.run(scenario())

    assert ClientLeft("south", "no sign of life within its lease") in left


def test_a_silent_client_is_back_with_its_next_call(serve):
    """It needs no second join: asking for work brings it back, and its work with it."""

    async def scenario():
        async with serve(lease_s=0.6) as running, sites(running, "north", "south") as both:
            await joined(*both)
            await both[1].next("train")
            gone = ClientLeft("south", "no sign of life within its lease")
            await until(lambda: gone in journalled(running.folder, ClientLeft))
            task = await both[1].next("train")
            return task, journalled(running.folder, ClientJoined)

    task, joins = asyncio.run(scenario())

    assert task.assignment
    assert [each.client for each in joins].count("south") >= 2


def test_clients_of_different_rank_start_from_different_models(serve, tmp_path):
    """Each gets the adapter at its own rank."""

    async def scenario():
        async with (
            serve("lora.client_ranks={south: 2}") as running,
            sites(running, "north", "south") as both,
        ):
            await joined(*both)
            tasks = [await site.next("train") for site in both]
            return [
                {name: t.shape for name, t in (await site.model_of(task, tmp_path)).items()}
                for site, task in zip(both, tasks, strict=True)
            ]

    north, south = asyncio.run(scenario())

    assert north == SHAPES
    assert south == {"m.lora_A.weight": (2, 6), "m.lora_B.weight": (8, 2)}


async def late_joiner(serve, method: str, tmp_path):
    """Let east join while round 1 is measured; return the model it gets, the run's folder and config."""
    async with (
        serve(f"method={method}", "output.adapter_every=1") as running,
        sites(running, "north", "south", "east") as (north, south, east),
    ):
        await joined(north, south)
        await both_work(north, south)
        await north.next("evaluate")
        await east.join()
        await measured(north, south)
        model = await east.model_of(await east.next("train"), tmp_path)
        return model, running.folder, running.config


def test_who_joins_late_starts_from_the_newest_adapter(serve, tmp_path):
    """A client that joins after round 1 starts from what round 1 gave, bit for bit."""
    model, folder, _ = asyncio.run(late_joiner(serve, "lora", tmp_path))

    saved = adapter(folder, 1)
    assert set(model) == set(saved)
    assert all(np.array_equal(model[name], saved[name]) for name in model)
    assert np.any(model["m.lora_B.weight"])


def test_who_joins_late_rebuilds_the_newest_weights(serve, tmp_path):
    """The coefficients that it gets stand for what the saved adapter stands for."""
    model, folder, config = asyncio.run(late_joiner(serve, "seeds", tmp_path))

    chosen = config.seeds.directions
    along = Directions(chosen.kind, chosen.rank, run_key(config.seed))
    sent = coefficients_of(Package("span", model), config.seeds.num_seeds)
    rebuilt = total("m", (8, 6), sent, along)
    factors = sorted(adapter(folder, 1).items())
    assert np.any(rebuilt)
    np.testing.assert_allclose(rebuilt, factors[1][1] @ factors[0][1], rtol=1e-5, atol=1e-7)


def test_an_evaluation_is_the_mean_over_the_clients(serve):
    """Each client counts once, whatever the number of its examples: as in a simulation."""

    async def scenario():
        async with serve("rounds=1") as running, sites(running, "north", "south") as both:
            await joined(*both)
            await both_work(*both)
            await measured(*both, losses=(1.0, 4.0))
            await asyncio.gather(*(site.next("over") for site in both))
            return journalled(running.folder, RoundEvaluated)

    assert asyncio.run(scenario())[-1].metrics["loss"] == 2.5


def test_an_evaluation_does_not_wait_beyond_its_deadline(serve):
    """Who has not measured by then is left out."""

    async def scenario():
        async with serve("rounds=1", "evaluation.deadline_s=0.7") as running:
            async with sites(running, "north", "south") as both:
                await joined(*both)
                await both_work(*both)
                await measured(both[0], losses=(1.0,))
                await both[0].next("over")
            return journalled(running.folder, RoundEvaluated)

    assert asyncio.run(scenario())[-1].metrics["loss"] == 1.0


def test_a_failed_task_is_journalled_in_clean_words(serve):
    """What a client says of its failure is cut, and holds no control character."""
    said = "no memory\x1b[31m\n" + "x" * 2000

    async def scenario():
        async with serve("cohort.quorum=1") as running, sites(running, "north", "south") as both:
            await joined(*both)
            await both[0].next("train")
            request = pb.ReportFailureRequest(run_id=both[0].run_id, round=1, reason=said)
            await both[0].stub.ReportFailure(request)
            return journalled(running.folder, ClientFailed)

    (failed,) = asyncio.run(scenario())

    assert (failed.client, failed.round, len(failed.reason)) == ("north", 1, 500)
    assert failed.reason.startswith("no memory")
    assert failed.reason.isprintable()


def test_a_client_at_work_hears_that_it_may_stop(serve):
    """The call that it waits in while it trains is answered when its round closes without it."""

    async def scenario():
        async with serve(*SHORT) as running, sites(running, "north", "south") as (north, south):
            await joined(north, south)
            await south.next("train")
            waiting = asyncio.ensure_future(south.poll(wait_s=10.0, working_on_round=1))
            await north.work_a_round()
            return (await waiting).cancel

    assert asyncio.run(scenario()).round == 1


def test_a_download_goes_on_from_an_offset(serve):
    """A model can be fetched in parts, and not from behind its end."""

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as both:
            await joined(*both)
            task = await both[0].next("train")
            _, blob = unpack_assignment(task.assignment, "north", both[0].run_id)
            name = bytes.fromhex(blob.sha256)
            whole = await both[0].download(name)
            behind = await refusal(both[0].download(name, offset=2**64 - 1))
            return whole, await both[0].download(name, 7), behind, blob

    whole, rest, (code, reason), blob = asyncio.run(scenario())

    assert len(whole) == blob.bytes
    assert rest == whole[7:]
    assert code.name == "INVALID_ARGUMENT"
    assert f"offset {2**64 - 1} of a model of {blob.bytes} bytes" in reason
