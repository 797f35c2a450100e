"""Throughput of our uploads and downloads over mutual TLS, against a bare grpc.aio stream in the same run.

    python -m benchmarks.transfer [--mb 256] [--turns 5]

Ours: the daemon's transfers from and to files, the coordinator's spool; hashed on both sides, written to
the disk, synced, resumable. Bare: chunks of 256 KiB from memory to a handler that drops them, and back.
Each in its own server process; the client is one process, and the four take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import grpc
import numpy as np
from tests.network.fleet import ROOT, ProcessFleet, free_ports

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.sent.book import Book, sent_folder
from antiphon.client.sent.recorded import RecordedChannel
from antiphon.core.blob import Blob, blob_of
from antiphon.core.channel import CHUNK_BYTES, SERVER_OPTIONS, secure_channel
from antiphon.core.logs import configure_logs
from antiphon.core.wire import pack_blob, unpack_assignment
from antiphon.server.enrolment.fleet import open_fleet
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc, update_pb2
from benchmarks.network_round import config, shapes
from benchmarks.parked_clients import identity


class Bare(coordinator_pb2_grpc.CoordinatorServicer):
    """The same messages, and nothing done with them."""

    def __init__(self, size: int) -> None:
        """Send `size` bytes to whoever downloads."""
        self._size, self._chunk = size, bytes(CHUNK_BYTES)

    async def Upload(self, request_iterator: Any, context: Any) -> pb.UploadStatusResponse:
        """Drop what comes."""
        size = 0
        async for chunk in request_iterator:
            size += len(chunk.content)
        return pb.UploadStatusResponse(offset=size)

    async def Download(self, request: Any, context: Any) -> AsyncIterator[pb.DownloadChunk]:
        """Send zeros."""
        for _ in range(self._size // CHUNK_BYTES):
            yield pb.DownloadChunk(content=self._chunk)


async def serve_bare(home: Path, port: int, size: int) -> None:
    """Serve the bare stream with the fleet's own kind of certificate."""
    from antiphon.server.enrolment.server_certificate import ServerCertificate

    fleet = open_fleet(home)
    server = grpc.aio.server(options=[*SERVER_OPTIONS])
    coordinator_pb2_grpc.add_CoordinatorServicer_to_server(Bare(size), server)
    certificate = ServerCertificate(fleet.authority, fleet.folder, time.time)
    server.add_secure_port(f"127.0.0.1:{port}", certificate.credentials(clients=True))
    await server.start()
    await server.wait_for_termination()


async def measure(fleet: ProcessFleet, port: int, size: int, turns: int) -> dict[str, list[float]]:
    """Return bytes per second of each of the four, turn by turn."""
    opened = open_fleet(fleet.home)
    ours, bare = identity(opened, "ours"), identity(opened, "bare")
    opened.close()
    port_of_ours, book = fleet.ports["listen"], Book(sent_folder(fleet.folder), time.time)
    link = Link(
        lambda: RecordedChannel(channel_to(port_of_ours, ours), book, "loopback"),
        Backoff(Random(1)),
        Metrics(),
    )
    stub = coordinator_pb2_grpc.CoordinatorStub(channel_to(port, bare))
    run_id, number, model = await _assigned(link, size)
    content = np.random.default_rng(1).bytes(size)
    file, copy = fleet.folder / "up", fleet.folder / "down"

    async def our_upload(turn: int) -> float:
        file.write_bytes(turn.to_bytes(4, "little") + content[4:])
        blob = blob_of(file.read_bytes(), "safetensors")
        update = update_pb2.Update(run_id=run_id, round=number, tensors=pack_blob(blob))
        await link.submit_update(update.SerializeToString())
        return await _timed(lambda: link.upload(run_id, blob, file))

    async def our_download(turn: int) -> float:
        copy.unlink(missing_ok=True)
        return await _timed(lambda: link.download(run_id, model, copy)) * size / model.bytes

    async def bare_upload(turn: int) -> float:
        async def chunks() -> AsyncIterator[pb.UploadChunk]:
            for start in range(0, size, CHUNK_BYTES):
                yield pb.UploadChunk(content=content[start : start + CHUNK_BYTES])

        return await _timed(lambda: stub.Upload(chunks()))

    async def bare_download(turn: int) -> float:
        async def read() -> None:
            async for _ in stub.Download(pb.DownloadRequest()):
                pass

        return await _timed(read)

    cases = {f.__name__: f for f in (our_upload, bare_upload, our_download, bare_download)}
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(turns + 1):
        for name, case in cases.items():
            seconds = await case(turn)
            if turn:  # the first is for warming up
                taken[name].append(size / seconds)
    return taken


async def _assigned(link: Link, size: int) -> tuple[str, int, Blob]:
    """Join; return the run, the open round and its model."""
    hello = await link.hello()
    factors = [
        pb.MatrixShape(name=name, rows=rows, columns=columns)
        for name, (rows, columns) in shapes(size // 4).items()
    ]
    space = pb.SpaceReport(factors=factors, model_parameters=1, model_digest=bytes(32))
    await link.join(
        pb.JoinRequest(run_id=hello.run_id, config_hash=hello.config_hash, examples=10, space=space)
    )
    request = pb.NextTaskRequest(run_id=hello.run_id, wait_ms=30_000)
    while (answer := await link.next_task(request)).WhichOneof("task") != "train":
        pass
    assigned, model = unpack_assignment(answer.train.assignment, "ours", hello.run_id)
    return hello.run_id, assigned.round, model


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


def channel_to(port: int, given: dict[str, str]) -> grpc.aio.Channel:
    """Open a channel of a client with this identity."""
    credentials = grpc.ssl_channel_credentials(
        given["roots"].encode(), given["key"].encode(), given["certificate"].encode()
    )
    return secure_channel(f"127.0.0.1:{port}", credentials, "fleet")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--bare", nargs=3)
    given = parser.parse_args()
    configure_logs("error", "json")
    if given.bare:
        home, port, size = given.bare
        asyncio.run(serve_bare(Path(home), int(port), int(size)))
        return
    size = given.mb * 2**20
    with tempfile.TemporaryDirectory() as folder:
        fleet = ProcessFleet(Path(folder), config(1, 1, "factors"))
        (port,) = free_ports(1)
        fleet.serve(settings={"lease_s": 600.0})
        fleet.wait_until_served()
        command = [sys.executable, "-m", "benchmarks.transfer", "--bare", str(fleet.home)]
        child = subprocess.Popen([*command, str(port), str(size)], cwd=ROOT)
        try:
            taken = asyncio.run(measure(fleet, port, size, given.turns))
        finally:
            child.kill()
            fleet.close()
    print("| | Ours | Bare stream | Ratio, median | Range |")
    print("|---|---|---|---|---|")
    for way in ("upload", "download"):
        ours, bare = taken[f"our_{way}"], taken[f"bare_{way}"]
        ratios = sorted(a / b for a, b in zip(ours, bare, strict=True))
        middles = [f"{statistics.median(each) / 1e6:.0f} MB/s" for each in (ours, bare)]
        print(
            f"| {way} | {middles[0]} | {middles[1]} | {statistics.median(ratios):.2f} × | "
            f"{ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )


if __name__ == "__main__":
    main()
