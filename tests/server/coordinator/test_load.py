"""What a coordinator costs while it works: the loop stays free, memory stays flat."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from tests.network.fleet import ProcessFleet
from tests.server.coordinator.conftest import PATIENCE_S, journalled, sites, until

from antiphon.core import fault_points
from antiphon.core.blob import blob_of
from antiphon.core.channel import coordinator_name
from antiphon.core.content import Content
from antiphon.core.events import RoundFolded
from antiphon.core.tensors import to_bytes
from antiphon.core.wire import Packed, pack_blob
from antiphon.server.enrolment.fleet import open_fleet
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc, update_pb2

LARGE = {"m.lora_A.weight": (4, 625_000), "m.lora_B.weight": (625_000, 4)}


def large_update() -> Packed:
    content = to_bytes({name: np.full(shape, 0.01, np.float32) for name, shape in LARGE.items()})
    message = update_pb2.Update(run_id="run", round=1, examples=10, steps=1)
    message.tensors.CopyFrom(pack_blob(blob_of(content, "safetensors")))
    return Packed(message.SerializeToString(), Content((content,)))


@pytest.mark.slow
def test_the_loop_stays_free_while_a_large_update_is_taken(serve, monkeypatch):
    """20 MB are hashed, synced, checked, folded and written in other threads than the event loop's."""
    threads: dict[str, set[int]] = {}
    note = lambda step: threads.setdefault(step, set()).add(threading.get_ident())  # noqa: E731
    monkeypatch.setattr(fault_points, "_hooks", [note])
    space = pb.SpaceReport(
        factors=[pb.MatrixShape(name=n, rows=r, columns=c) for n, (r, c) in LARGE.items()],
        model_parameters=48,
        model_digest=b"\1" * 32,
    )

    async def scenario():
        update = large_update()
        async with (
            serve("rounds=1", "cohort.min_clients=1", fixed=False) as running,
            sites(running, "north") as (north,),
        ):
            await north.join(space=space)
            await north.next("train")
            answer = await north.submit(update.message)
            await north.upload(
                update.joined, blob_of(update.joined, "safetensors"), chunk=256 << 10
            )
            answer = await north.submit(update.message)
            await until(lambda: journalled(running.folder, RoundFolded), 60.0)
            return answer.verdict

    verdict = asyncio.run(scenario())

    assert verdict == pb.SubmitUpdateResponse.ACCEPTED
    on_the_loop = {step for step, seen in threads.items() if threading.get_ident() in seen}
    assert on_the_loop == {"before acknowledgement"}
    assert {"upload spooled", "update linked", "during fold", "state written"} < set(threads)


def peak_memory_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(each.split()[1]) for each in lines if each.startswith("VmHWM"))


async def send_bombs(fleet: ProcessFleet, count: int) -> set[grpc.StatusCode]:
    """Send messages of 256 MB that are 260 kB on the wire, as an enrolled client."""
    from tests.server.coordinator.conftest import certify

    authority = open_fleet(fleet.home)
    try:
        shown = certify(authority, "mallory")
        root = authority.authority.roots[0].public_bytes(serialization.Encoding.PEM)
    finally:
        authority.close()
    options = [
        ("grpc.ssl_target_name_override", coordinator_name("fleet")),
        ("grpc.max_send_message_length", -1),
    ]
    address = f"127.0.0.1:{fleet.ports['listen']}"
    codes = set()
    async with grpc.aio.secure_channel(
        address, grpc.ssl_channel_credentials(root, *shown), options=options
    ) as channel:
        stub = coordinator_pb2_grpc.CoordinatorStub(channel)
        await stub.Hello(pb.HelloRequest())  # a stranger's connection is cut for as many bytes
        for _ in range(count):
            request = pb.SubmitUpdateRequest(update=bytes(256 << 20))
            try:
                await stub.SubmitUpdate(
                    request, compression=grpc.Compression.Gzip, timeout=PATIENCE_S
                )
            except grpc.aio.AioRpcError as error:
                codes.add(error.code())
    return codes


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_a_message_that_would_inflate_does_not(tmp_path, tiny_values):
    """Peak memory of a real coordinator grows by less than ten megabytes."""
    fleet = ProcessFleet(tmp_path / "fleet", tiny_values)
    try:
        process = fleet.serve()
        fleet.wait_until_served()
        before = peak_memory_bytes(process.pid)
        codes = asyncio.run(send_bombs(fleet, 2))
        growth = peak_memory_bytes(process.pid) - before
    finally:
        fleet.close()

    assert codes == {grpc.StatusCode.UNIMPLEMENTED}
    assert growth < 10_000_000
