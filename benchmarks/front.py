"""What the front costs: a bare grpc.aio server over mutual TLS at a port of its own, and behind the front.

    python -m benchmarks.front [--mb 128] [--turns 15] [--calls 2000] [--copied]

Both are servers of one process and take turns, as the two do in which a pair goes first; the client is
another process. Wall time, and the server's processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
from tests.network.fleet import ROOT

from antiphon.core.channel import CHUNK_BYTES, SERVER_OPTIONS
from antiphon.core.logs import configure_logs
from antiphon.server.enrolment.authority import create_authority
from antiphon.server.enrolment.fleet import open_fleet
from antiphon.server.enrolment.ledger import Ledger, ledger_file
from antiphon.server.enrolment.server_certificate import ServerCertificate
from antiphon.server.front import flow
from antiphon.server.front.behind import behind_front
from antiphon.server.front.lines import Lines, Room
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc
from benchmarks.parked_clients import identity
from benchmarks.transfer import Bare, channel_to

_SETTLING_S = 7.0


class Told(Bare):
    """Tells the front of its calls, as the guard of a coordinator does."""

    def __init__(self, size: int, lines: Lines) -> None:
        """lines: of its front; a server without one may tell them too."""
        super().__init__(size)
        self._lines = lines

    async def Upload(self, request_iterator: Any, context: Any) -> pb.UploadStatusResponse:
        """Drop what comes."""
        with self._lines.call(context.peer(), "bench", Room(4 * CHUNK_BYTES, stream=True)) as took:

            async def told() -> Any:
                async for chunk in request_iterator:
                    took(len(chunk.content))
                    yield chunk

            return await super().Upload(told(), context)

    async def Hello(self, request: pb.HelloRequest, context: Any) -> pb.HelloResponse:
        """Answer."""
        with self._lines.call(context.peer(), "bench", Room(4 * CHUNK_BYTES)) as took:
            took(0)
            return pb.HelloResponse()


async def serve(home: Path, size: int) -> None:
    """Serve both ways until killed; write the two ports."""
    fleet, lines = open_fleet(home), Lines()
    certificate = ServerCertificate(fleet.authority, fleet.folder, time.time)
    plain, fronted = (grpc.aio.server(options=[*SERVER_OPTIONS]) for _ in range(2))
    for server in (plain, fronted):
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(Told(size, lines), server)
    port = plain.add_secure_port("127.0.0.1:0", certificate.credentials(clients=True))
    await plain.start()
    async with AsyncExitStack() as stack:
        credentials = certificate.credentials(clients=True)  # of one server each
        serving = behind_front(fronted, "127.0.0.1:0", credentials, lines)
        print(json.dumps([port, await stack.enter_async_context(serving)]), flush=True)
        await asyncio.Event().wait()


async def measure(
    server: psutil.Process, ports: list[int], shown: dict[str, str], size: int, given: Any
) -> None:
    """Print a row for each kind of work."""
    stubs = [coordinator_pb2_grpc.CoordinatorStub(channel_to(port, shown)) for port in ports]

    async def upload(stub: Any) -> None:
        async def chunks() -> Any:
            chunk = bytes(CHUNK_BYTES)
            for _ in range(size // CHUNK_BYTES):
                yield pb.UploadChunk(content=chunk)

        await stub.Upload(chunks())

    async def download(stub: Any) -> None:
        async for _ in stub.Download(pb.DownloadRequest()):
            pass

    async def calls(stub: Any) -> None:
        for _ in range(given.calls):
            await stub.Hello(pb.HelloRequest())

    for stub in stubs:
        await stub.Hello(pb.HelloRequest())
    await asyncio.sleep(_SETTLING_S)
    for work in (upload, download, calls):
        walls, cpus = await _pairs(server, stubs, work, given.turns)
        each = given.calls if work is calls else size / 2**30
        unit, scale = ("ms a call", 1e3) if work is calls else ("s a GiB", 1.0)
        cpu = [statistics.median(side) / each * scale for side in cpus]
        print(
            f"| {work.__name__} | {_ratio(walls)} | {_ratio(cpus)} | "
            f"{cpu[0]:.3f} {unit} | {cpu[1]:.3f} {unit} |",
            flush=True,
        )


async def _pairs(
    server: psutil.Process, stubs: list[Any], work: Callable[[Any], Awaitable[None]], turns: int
) -> tuple[list[list[float]], list[list[float]]]:
    walls: list[list[float]] = [[], []]
    cpus: list[list[float]] = [[], []]
    for turn in range(turns + 1):
        for side in (0, 1) if turn % 2 else (1, 0):
            before, start = server.cpu_times(), time.monotonic()
            await work(stubs[side])
            taken, after = time.monotonic() - start, server.cpu_times()
            if turn:  # the first warms up
                walls[side].append(taken)
                cpus[side].append(after.user + after.system - before.user - before.system)
    return walls, cpus


def _ratio(sides: list[list[float]]) -> str:
    ratios = sorted(b / a for a, b in zip(*sides, strict=True))
    quarter = len(ratios) // 4
    return (
        f"{statistics.median(ratios):.2f} × ({ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=int, default=128)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--copied", action="store_true", help="as where the system has no splice")
    parser.add_argument("--serve")
    given = parser.parse_args()
    configure_logs("error", "json")
    size = given.mb * 2**20
    if given.serve:
        if given.copied:
            flow.Pipes.take = lambda self: None  # type: ignore[method-assign]
        asyncio.run(serve(Path(given.serve), size))
        return
    with tempfile.TemporaryDirectory() as folder:
        create_authority(Path(folder) / "fleet", "fleet", None, time.time())
        Ledger(ledger_file(Path(folder) / "fleet"), new=True).close()
        fleet = open_fleet(Path(folder))
        shown = identity(fleet, "bench")
        fleet.close()
        command = [sys.executable, "-m", "benchmarks.front", "--serve", folder]
        more = ["--mb", str(given.mb), *(["--copied"] if given.copied else [])]
        child = subprocess.Popen([*command, *more], cwd=ROOT, stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            ports = json.loads(child.stdout.readline())
            print(
                "| | Wall time, behind / alone | Processor | Alone | Behind |\n|---|---|---|---|---|"
            )
            asyncio.run(measure(psutil.Process(child.pid), ports, shown, size, given))
        finally:
            child.kill()
            child.wait()


if __name__ == "__main__":
    main()
