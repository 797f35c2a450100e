"""The coordinator's peak memory in a round of 20 M float32, with few clients and with many.

    python -m benchmarks.coordinator_memory [--clients 4 64] [--parameters 20000000]

Real coordinator process, mutual TLS; the clients live in one process, use the daemon's own calls, and all
upload the same constant delta at once. One round: uploads, checks, commits, fold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import grpc
import numpy as np
from tests.network.fleet import ROOT, ProcessFleet

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.sent.book import Book, sent_folder
from antiphon.client.sent.recorded import RecordedChannel
from antiphon.core.blob import Blob
from antiphon.core.channel import CLIENT_OPTIONS, coordinator_name
from antiphon.core.logs import configure_logs
from antiphon.core.types import Package, Update
from antiphon.core.wire import pack_update, unpack_assignment, update_blob
from antiphon.server.enrolment.fleet import open_fleet
from antiphon.v1 import coordinator_pb2 as pb
from benchmarks.network_round import config, shapes
from benchmarks.parked_clients import identity


async def take_part(address: str, given: dict[str, Any], delta: dict[str, Any], work: Path) -> None:
    """Live one round as one client."""
    credentials = grpc.ssl_channel_credentials(
        given["roots"].encode(), given["key"].encode(), given["certificate"].encode()
    )
    options = [
        *CLIENT_OPTIONS,
        ("grpc.ssl_target_name_override", coordinator_name("fleet")),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    book = Book(sent_folder(work / given["name"]), time.time)
    link = Link(
        lambda: RecordedChannel(
            grpc.aio.secure_channel(address, credentials, options=options), book, address
        ),
        Backoff(Random(given["name"])),
        Metrics(),
    )
    hello = await link.hello()
    factors = [
        pb.MatrixShape(name=name, rows=value.shape[0], columns=value.shape[1])
        for name, value in delta.items()
    ]
    space = pb.SpaceReport(factors=factors, model_parameters=1, model_digest=bytes(32))
    await link.join(
        pb.JoinRequest(run_id=hello.run_id, config_hash=hello.config_hash, examples=10, space=space)
    )
    request = pb.NextTaskRequest(run_id=hello.run_id, wait_ms=30_000)
    while (answer := await link.next_task(request)).WhichOneof("task") != "train":
        pass
    assigned, _ = unpack_assignment(answer.train.assignment, given["name"], hello.run_id)
    message, blob, file = _packed(given["name"], assigned.round, hello.run_id, delta, work)
    answered = await link.submit_update(message)
    while answered.verdict == pb.SubmitUpdateResponse.UPLOAD_FIRST:
        await link.upload(hello.run_id, blob, file)
        answered = await link.submit_update(message)
    await link.close()


def _packed(
    name: str, number: int, run_id: str, delta: dict[str, Any], work: Path
) -> tuple[bytes, Blob, Path]:
    packed = pack_update(Update(name, number, 10, 1, Package("delta", delta)), run_id)
    blob = update_blob(packed.message)
    if blob is None or packed.content is None:
        raise SystemExit("an update of tensors names a blob")
    file = work / blob.sha256
    if not file.exists():
        file.write_bytes(packed.joined)
    return packed.message, blob, file


async def clients(address: str, given: list[dict[str, Any]], parameters: int, work: Path) -> None:
    """Live one round as all of them."""
    delta = {name: np.full(shape, 0.001, np.float32) for name, shape in shapes(parameters).items()}
    await asyncio.gather(*(take_part(address, each, delta, work) for each in given))


def run(folder: Path, count: int, parameters: int) -> tuple[float, float]:
    """Return the coordinator's peak memory in bytes and the seconds that the round took."""
    fleet = ProcessFleet(folder, config(1, count, "factors"))
    try:
        fleet.serve()
        fleet.wait_until_served()
        opened = open_fleet(fleet.home)
        given = [identity(opened, f"client-{number}") for number in range(count)]
        opened.close()
        (folder / "clients.json").write_text(json.dumps(given))
        address = f"127.0.0.1:{fleet.ports['listen']}"
        command = [sys.executable, "-m", "benchmarks.coordinator_memory", "--child", address]
        start = time.monotonic()
        subprocess.run(
            [*command, str(folder), "--parameters", str(parameters)], check=True, cwd=ROOT
        )
        state = fleet.run_folder.state_file(1)
        while not state.exists():
            fleet.processes["coordinator"].poll()
            time.sleep(0.1)
        taken = time.monotonic() - start
        status = Path(f"/proc/{fleet.processes['coordinator'].pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return float(peak.split()[1]) * 1024, taken
    finally:
        fleet.close()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, nargs="+", default=[4, 64])
    parser.add_argument("--parameters", type=int, default=20_000_000)
    parser.add_argument("--child", nargs=2)
    given = parser.parse_args()
    if given.child:
        configure_logs("error", "json")
        address, folder = given.child[0], Path(given.child[1])
        everybody = json.loads((folder / "clients.json").read_text())
        asyncio.run(clients(address, everybody, given.parameters, folder))
        return
    print("| Clients | Parameters | Peak memory of the coordinator | Round |")
    print("|---|---|---|---|")
    for count in given.clients:
        with tempfile.TemporaryDirectory() as folder:
            peak, taken = run(Path(folder), count, given.parameters)
        size = f"{given.parameters / 1e6:.0f} M"
        print(f"| {count} | {size} | {peak / 1e6:.0f} MB | {taken:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
