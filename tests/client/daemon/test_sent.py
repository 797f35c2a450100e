"""Whatever leaves a site is in its ledger before it leaves, and what is not there does not leave."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from pathlib import Path

import grpc
import pytest
from tests.client.daemon.scripted import SUBMIT, Failure
from tests.client.daemon.stage import Stage, evaluate_task, over, run_to_the_end, train_task

import antiphon.client.daemon
from antiphon.client.daemon.calls import NotRecorded, Stub
from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.ledger import head_file
from antiphon.client.sent.reading import Left, left, lines, verify
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

CLIENT = Path(antiphon.client.daemon.__file__).parents[1]


def left_of(stage: Stage, *methods: str) -> list[Left]:
    """What the ledger says of some methods, or of all."""
    found = left(lines(sent_folder(stage.folder)))
    return [each for each in found if not methods or each.what.method in methods]


def a_life(stage: Stage) -> None:
    """Two rounds with a broken upload and a late answer, a task that fails, a measurement, the end."""
    stage.script.failures["Upload"].append(Failure(grpc.StatusCode.UNAVAILABLE))
    stage.script.failures["Join"].append(Failure(grpc.StatusCode.UNAVAILABLE))
    stage.script.verdicts.extend([SUBMIT.UPLOAD_FIRST, SUBMIT.LATE])
    for task in (
        train_task(stage.script, 1),
        train_task(stage.script, 2),
        train_task(stage.script, 3, steps=999),
        evaluate_task(stage.script, 3),
        over(),
    ):
        stage.script.give(task)
    stage.policy(max_steps=10)
    stage.play(run_to_the_end)


def test_the_ledger_is_what_the_coordinator_got(stage: Stage) -> None:
    """Every call that arrived is in the ledger, of each method as many, and none beside.

    But for a call that keeps the lease and is broken off on its way, when the task is done.
    """
    a_life(stage)

    noted: Counter[str] = Counter()
    for each in left_of(stage):
        noted[each.what.method] += each.calls or 0
    arrived = Counter(method for method, _ in stage.script.calls)
    assert arrived - noted == Counter()
    assert set(noted - arrived) <= {"NextTask"}
    assert verify(sent_folder(stage.folder)).newer == 0


def test_updates_are_noted_with_their_bytes_and_hash(stage: Stage) -> None:
    """What the ledger says of updates and uploads is what has arrived, byte for byte."""
    a_life(stage)

    messages = [
        (each.what.round, each.bytes, each.what.sha256, each.verdict)
        for each in left_of(stage, "SubmitUpdate")
    ]
    got = [request.update for request in stage.script.seen("SubmitUpdate")]
    assert [each[1:3] for each in messages] == [
        (len(each), hashlib.sha256(each).hexdigest()) for each in got
    ]
    assert [each[0] for each in messages] == [update_pb2.Update.FromString(u).round for u in got]
    assert [each[3] for each in messages] == ["upload first", "late", "upload first", "accepted"]
    uploads = [each for each in left_of(stage, "Upload") if each.verdict == "answered"]
    assert {each.what.sha256: each.bytes for each in uploads} == {
        hashlib.sha256(content).hexdigest(): len(content)
        for content in stage.script.uploads.values()
    }
    assert [each.what.round for each in uploads] == [1, 2]


def test_each_attempt_is_an_entry(stage: Stage) -> None:
    """A call that is made again is noted again: the first one may have arrived."""
    a_life(stage)

    assert [each.verdict for each in left_of(stage, "Join")] == ["no answer", "answered"]
    assert next(each.verdict for each in left_of(stage, "Upload")) == "no answer"


def test_it_is_noted_before_it_leaves(stage: Stage) -> None:
    """When a call arrives, its line is on the disk; the answer's is not there yet."""
    seen: list[tuple[str, list[str]]] = []
    note = stage.script._note

    async def noting(method: str, request: object, context: object) -> None:
        what = [each.verdict for each in left_of(stage, method)]
        seen.append((method, what[-1:]))
        await note(method, request, context)

    stage.script._note = noting  # type: ignore[method-assign]
    a_life(stage)

    assert {method for method, _ in seen} > {"Hello", "Join", "SubmitUpdate", "Upload", "Download"}
    assert [e for e in seen if e[1] not in (["no answer"], ["not counted yet"])] == []


def test_nothing_is_sent_without_a_ledger(stage: Stage) -> None:
    """While the ledger cannot be written no call reaches the coordinator; then they go on by themselves."""

    async def body(stage: Stage) -> None:
        head = head_file(sent_folder(stage.folder))
        before = head.read_bytes()
        head.write_bytes(b"{")
        with pytest.raises(NotRecorded, match="Nothing is sent"):
            await stage.link.farewell("run-1", 1.0)
        assert stage.script.calls == []
        head.write_bytes(before)
        await stage.link.hello()

    stage.play(body)

    assert len(stage.script.calls) == 1


def test_no_message_of_a_stream_is_sent_without_a_ledger(stage: Stage) -> None:
    """Nor does a transfer begin: its first message is noted before there is a call."""

    async def upload(stub: Stub) -> None:
        await stub.Upload().write(pb.UploadChunk(content=b"secret"))

    async def download(stub: Stub) -> None:
        await stub.Download(pb.DownloadRequest(run_id="run-1")).read()

    async def body(stage: Stage) -> None:
        head_file(sent_folder(stage.folder)).write_bytes(b"{")
        for work in (upload, download):
            with pytest.raises(NotRecorded):
                await stage.link._caller.once(work)

    stage.play(body)

    assert stage.script.calls == []


def test_there_is_no_other_way_out() -> None:
    """No file of the client but recorded.py opens a channel of gRPC."""
    opened = {
        file.name
        for file in CLIENT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Name | ast.Attribute | ast.alias)
        and str(getattr(node, "id", getattr(node, "attr", getattr(node, "name", "")))).endswith(
            "secure_channel"
        )
    }

    assert opened == {"recorded.py"}


def test_a_channel_knows_no_method_without_a_purpose(stage: Stage) -> None:
    """A call that is new in the protocol cannot be made before the ledger knows what to write of it."""

    async def body(stage: Stage) -> None:
        with pytest.raises(KeyError, match="Tell"):
            stage.link._caller._connection.channel.unary_unary("/antiphon.v1.Coordinator/Tell")

    stage.play(body)
