"""What an enrolled client can send that it should not: refused with a reason, and the round goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from safetensors.numpy import save
from tests.server.coordinator.conftest import SHAPES, journalled, refusal, sites
from tests.strategies.served import walk

from antiphon.core.blob import blob_of
from antiphon.core.content import Content
from antiphon.core.events import UpdateReceived, UpdateRejected
from antiphon.core.wire import Packed, pack_blob, unpack_assignment, update_blob
from antiphon.server.coordinator import service
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

VERDICT = pb.SubmitUpdateResponse
A, B = SHAPES

Message = Callable[[update_pb2.Update], None]


def good() -> dict[str, np.ndarray]:
    return {name: np.full(shape, 0.01, np.float32) for name, shape in SHAPES.items()}


def packed(content: bytes | None = None, change: Message = lambda message: None) -> Packed:
    """An update as a client makes it that does not use our code."""
    content = save(good()) if content is None else content
    blob = pack_blob(blob_of(content, "safetensors"))
    message = update_pb2.Update(run_id="run", round=1, examples=10, steps=1, tensors=blob)
    change(message)
    return Packed(message.SerializeToString(), None if content is None else Content((content,)))


def tensors(**changed: np.ndarray) -> Packed:
    return packed(save({**good(), **changed}))


def named(name: str) -> Packed:
    return tensors(**{name: np.zeros((2, 2), np.float32)})


def valued(value: float) -> Packed:
    return tensors(**{A: np.full(SHAPES[A], value, np.float32)})


def of(**fields: object) -> Packed:
    def change(message: update_pb2.Update) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return packed(change=change)


def many_metrics(message: update_pb2.Update) -> None:
    message.metrics.update({f"metric {number}": 1.0 for number in range(65)})


def without_payload(message: update_pb2.Update) -> None:
    message.ClearField("tensors")


def as_scalars(message: update_pb2.Update) -> None:
    message.arrays.array.add(name="index", whole=[3])
    message.arrays.array.add(name="value", real=[0.5])


@dataclass(frozen=True)
class Bad:
    """reason: what its sender reads, among other words."""

    what: str
    sent: Packed
    reason: str


BAD = [
    Bad("no protobuf", Packed(b"\xff" * 100, None), "not a protobuf Update"),
    Bad("nothing", Packed(b"", None), "a message of run ''"),
    Bad("other run", of(run_id="elsewhere"), "a message of run 'elsewhere', expected one of run"),
    Bad("path as run", of(run_id="../../etc"), "a message of run '../../etc'"),
    Bad("round to come", of(round=2), "round 2 has not been opened"),
    Bad("round of the end of time", of(round=2**32 - 1), "has not been opened"),
    Bad("no payload", packed(change=without_payload), "without a payload"),
    Bad(
        "other method",
        packed(change=as_scalars),
        "sent small arrays, but the round asked for tensors",
    ),
    Bad("more examples than joined", of(examples=2**60), "it joined with 10"),
    Bad("too many metrics", packed(change=many_metrics), "65 metrics, expected 64 at most"),
    Bad("no safetensors", packed(b"\0" * 64), "not a safetensors file"),
    Bad("header of 2^63", packed(b"\xff" * 7 + b"\x7f" + b"{}"), "not a safetensors file"),
    Bad("tensor missing", packed(save({A: good()[A]})), f"missing ['{B}']"),
    Bad("tensor too many", named("m.lora_C.weight"), "not asked for ['m.lora_C.weight']"),
    Bad("path as name", named("../../../etc/passwd"), "not asked for ['../../../etc/passwd']"),
    Bad("NUL in name", named("a\0b"), r"not asked for ['a\x00b']"),
    Bad("long name", named("x" * 70_000), "an upload of 70456 bytes, expected 1 to 67932"),
    Bad("rather long name", named("x" * 60_000), "not asked for ['xxx"),
    Bad("transposed", tensors(**{A: good()[A].T.copy()}), "got float32 (6, 4)"),
    Bad("float64", tensors(**{A: good()[A].astype(np.float64)}), "is F64, expected float32"),
    Bad("integers", tensors(**{A: np.zeros(SHAPES[A], np.int32)}), "is I32, expected float32"),
    Bad("NaN", valued(np.nan), "holds NaN or Inf"),
    Bad("infinity", valued(np.inf), "holds NaN or Inf"),
]


async def honest_end(north, mallory) -> None:
    """The honest one does its round, and the run ends."""
    assert (await north.work_a_round()).verdict == VERDICT.ACCEPTED
    await mallory.stub.Leave(pb.LeaveRequest(run_id="run"))
    await north.measure()
    assert (await north.next("over")).complete


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.what)
def test_a_bad_update_is_refused_and_the_round_goes_on(serve, bad):
    """Its sender reads why, in few words; the journal says so; an honest client ends the run."""

    async def scenario():
        async with serve("rounds=1", "cohort.quorum=1") as running:
            async with sites(running, "north", "mallory") as (north, mallory):
                await asyncio.gather(north.join(), mallory.join())
                await mallory.next("train")
                answer = await mallory.deliver(bad.sent)
                await honest_end(north, mallory)
            return answer, journalled(running.folder)

    answer, events = asyncio.run(scenario())

    assert answer.verdict == VERDICT.REJECTED
    assert bad.reason in answer.reason
    assert len(answer.reason) <= 500
    received = [each for each in events if isinstance(each, UpdateReceived)]
    assert [each.client for each in received if each.round == 1] == ["north"]


@pytest.mark.parametrize("size", [10_001, 2**63, 2**64 - 1])
def test_an_oversize_blob_is_refused_before_it_is_sent(serve, size):
    """The message names its size: the reason says how much is allowed."""

    def change(message):
        message.tensors.bytes = size

    async def scenario():
        settings = {"max_upload_mb": 0.01}
        async with (
            serve("rounds=1", "cohort.quorum=1", **settings) as running,
            sites(running, "north", "mallory") as (north, mallory),
        ):
            await asyncio.gather(north.join(), mallory.join())
            await mallory.next("train")
            answer = await mallory.submit(packed(change=change).message)
            await honest_end(north, mallory)
            return answer

    answer = asyncio.run(scenario())

    assert answer.verdict == VERDICT.REJECTED
    assert f"an upload of {size} bytes, expected 1 to 10000" in answer.reason


def upload_refused(serve, content: bytes, sent: bytes, **head):
    """Announce `content`, upload `sent`; return how that is refused."""

    async def scenario():
        async with serve() as running, sites(running, "north", "mallory") as (north, mallory):
            await asyncio.gather(north.join(), mallory.join())
            await mallory.next("train")
            update = packed(content)
            await mallory.submit(update.message)
            return await refusal(mallory.upload(sent, update_blob(update.message), **head))

    return asyncio.run(scenario())


def test_a_blob_longer_than_named_is_refused(serve):
    """The sender reads what was named."""
    content = save(good())

    code, reason = upload_refused(serve, content, content + b"x")

    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert f"longer than the {len(content)} bytes that its message names" in reason


def test_a_blob_of_another_hash_is_refused(serve):
    """The sender reads both hashes."""
    content = save(good())

    code, reason = upload_refused(serve, content, content[::-1])

    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert blob_of(content, "safetensors").sha256 in reason


def test_a_blob_that_nobody_waits_for_is_refused(serve):
    """Disk is for updates that were handed in."""

    async def scenario():
        async with serve() as running, sites(running, "north", "mallory") as (north, mallory):
            await asyncio.gather(north.join(), mallory.join())
            blob = blob_of(b"x" * 1000, "safetensors")
            refused = await refusal(mallory.upload(b"x" * 1000, blob))
            return refused, running.folder.uploads("mallory").exists()

    (code, reason), kept = asyncio.run(scenario())

    assert (code, kept) == (grpc.StatusCode.ABORTED, False)
    assert "hand the update in again" in reason


def test_an_upload_that_stalls_is_ended(serve, monkeypatch):
    """A line on which nothing moves does not hold a place for ever; what came is kept."""
    monkeypatch.setattr(service, "_CHUNK_TIMEOUT_S", 0.3)
    content = save(good())

    async def stall(start: int) -> None:
        if start >= 200:
            await asyncio.Event().wait()

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as both:
            await asyncio.gather(*(site.join() for site in both))
            await both[0].next("train")
            update = packed(content)
            blob = update_blob(update.message)
            await both[0].submit(update.message)
            code, _ = await refusal(both[0].upload(content, blob, pause=stall))
            return code, await both[0].arrived(blob)

    assert asyncio.run(scenario()) == (grpc.StatusCode.DEADLINE_EXCEEDED, 200)


def test_an_upload_without_a_word_is_ended(serve, monkeypatch):
    """Opened and never used: the caller hears that it took too long."""
    monkeypatch.setattr(service, "_CHUNK_TIMEOUT_S", 0.3)

    async def silence():
        await asyncio.Event().wait()
        yield pb.UploadChunk()

    async def scenario():
        async with serve() as running, sites(running, "mallory") as (mallory,):
            await mallory.join()
            return await refusal(mallory.stub.Upload(silence(), timeout=10.0))

    assert asyncio.run(scenario())[0] == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_replayed_message_counts_for_nobody_else(serve):
    """Who sends it is in the certificate: the bytes of another's update are the sender's own."""

    async def scenario():
        async with serve("method=seeds", "seeds.num_seeds=1") as running:
            async with sites(running, "north", "mallory") as (north, mallory):
                await asyncio.gather(north.join(), mallory.join())
                update = north.update((await north.next("train")).assignment)
                await mallory.next("train")
                answers = [await s.submit(update.message) for s in (mallory, north)]
            return answers, journalled(running.folder, UpdateReceived)

    answers, received = asyncio.run(scenario())

    assert [each.verdict for each in answers] == [VERDICT.ACCEPTED] * 2
    assert [each.client for each in received] == ["mallory", "north"]


def test_an_old_message_is_late_for_ever(serve):
    """An update of round 1 that comes again in round 2 is told so, and does not touch round 2."""

    async def scenario():
        async with serve("method=seeds") as running, sites(running, "north", "south") as both:
            await asyncio.gather(*(site.join() for site in both))
            task = await both[0].next("train")
            await asyncio.gather(*(site.work_a_round() for site in both))
            await asyncio.gather(*(site.measure() for site in both))
            await both[0].next("train")
            again = await both[0].submit(both[0].update(task.assignment, value=0.5).message)
            return again, await both[0].work_a_round()

    again, new = asyncio.run(scenario())

    assert (again.verdict, again.reason) == (VERDICT.LATE, "round 1 is closed")
    assert new.verdict == VERDICT.ACCEPTED


def test_scalars_of_a_giant_size_are_refused(serve):
    """One client moves the model by no more than the config allows."""

    async def scenario():
        async with serve("method=seeds") as running, sites(running, "north", "mallory") as both:
            await asyncio.gather(*(site.join() for site in both))
            asked, _ = unpack_assignment((await both[1].next("train")).assignment, "mallory", "run")
            index = np.zeros(asked.steps, np.uint32)
            giant = walk(index, np.full(asked.steps, 3e38, np.float32))
            task = await both[1].next("train")
            return await both[1].deliver(
                both[1].update(task.assignment, payload=giant, steps=asked.steps)
            )

    answer = asyncio.run(scenario())

    assert answer.verdict == VERDICT.REJECTED


def test_a_delta_of_a_giant_norm_is_refused(serve):
    """A finite delta far beyond what a round can move is refused with its norm, and the round goes on."""

    async def scenario():
        async with serve("cohort.quorum=1") as running, sites(running, "north", "mallory") as both:
            await asyncio.gather(*(site.join() for site in both))
            giant = await both[1].work_a_round(value=1e10)
            return giant, await both[0].work_a_round()

    giant, honest = asyncio.run(scenario())

    assert giant.verdict == VERDICT.REJECTED
    assert "the round allows 1e+03" in giant.reason
    assert honest.verdict == VERDICT.ACCEPTED


def test_a_client_is_refused_so_often_in_a_round_and_then_not_heard(serve):
    """Each refusal is journalled: nobody can fill the disk with them."""

    async def scenario():
        async with serve("cohort.quorum=1") as running:
            async with sites(running, "north", "mallory") as (north, mallory):
                await asyncio.gather(north.join(), mallory.join())
                await mallory.next("train")  # round 1 is open: refusals before it count elsewhere
                for _ in range(20):
                    await mallory.submit(b"\xff")
                refused = await refusal(mallory.submit(b"\xff"))
                answer = await north.work_a_round()
            return refused, answer, journalled(running.folder, UpdateRejected)

    (code, reason), answer, rejected = asyncio.run(scenario())

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "20 updates refused" in reason
    assert answer.verdict == VERDICT.ACCEPTED
    assert len(rejected) == 20


@pytest.mark.parametrize("method", ["NextTask", "Download", "UploadStatus", "ReportFailure"])
def test_who_has_not_joined_is_told_to(serve, method):
    """A certificate is not a membership."""
    requests = {
        "NextTask": pb.NextTaskRequest,
        "Download": pb.DownloadRequest,
        "UploadStatus": pb.UploadStatusRequest,
        "ReportFailure": pb.ReportFailureRequest,
    }

    async def scenario():
        async with serve() as running, sites(running, "north", "stranger") as (north, stranger):
            await north.join()
            call = getattr(stranger.stub, method)(requests[method](run_id="run"))
            return await refusal(anext(aiter(call)) if method == "Download" else call)

    assert asyncio.run(scenario()) == (grpc.StatusCode.FAILED_PRECONDITION, "join the run first")


def test_an_update_of_who_has_not_joined_is_unknown(serve):
    """The sender is told to join first."""

    async def scenario():
        async with serve() as running, sites(running, "stranger") as (stranger,):
            return await stranger.submit(packed().message)

    answer = asyncio.run(scenario())

    assert (answer.verdict, answer.reason) == (VERDICT.UNKNOWN, "join the run first")


@pytest.mark.parametrize("run_id", ["", "elsewhere", "../run", "x" * 70_000])
def test_a_call_for_another_run_is_refused(serve, run_id):
    """The caller reads which run is open here."""

    async def scenario():
        async with serve() as running, sites(running, "north") as (north,):
            await north.join()
            return await refusal(north.stub.NextTask(pb.NextTaskRequest(run_id=run_id)))

    code, reason = asyncio.run(scenario())

    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "is not open here, but 'run'" in reason
    assert len(reason) < 200


@pytest.mark.parametrize("sha256", [b"", b"../../config.yaml", b"\0" * 32, b"x" * 70_000])
def test_a_model_that_is_not_there_is_not_found(serve, sha256):
    """What is read is a model of this round, and never another file."""

    async def scenario():
        async with serve() as running, sites(running, "north", "south") as both:
            await asyncio.gather(*(site.join() for site in both))
            await both[0].next("train")
            return await refusal(both[0].download(sha256))

    code, reason = asyncio.run(scenario())

    assert code == grpc.StatusCode.NOT_FOUND
    assert "no such model" in reason


@pytest.mark.parametrize("metrics", [{"loss ": 1.0}, {"x" * 70_000: 1.0}, {"bleu": 1.0}])
def test_a_measurement_of_something_else_is_refused(serve, metrics):
    """The reason names what may be measured."""

    async def scenario():
        async with serve() as running, sites(running, "north") as (north,):
            await north.join()
            request = pb.SubmitEvaluationRequest(run_id="run", round=1, metrics=metrics)
            return await refusal(north.stub.SubmitEvaluation(request))

    code, reason = asyncio.run(scenario())

    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "expected some of loss, perplexity, accuracy" in reason
    assert len(reason) < 250
