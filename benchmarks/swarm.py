"""Many clients in one process, each with a certificate, a connection and the daemon's own calls.

They join and wait for work, as daemons do; a task that they are given is never done. A child process of
benchmarks.parked_clients:

    python -m benchmarks.swarm ADDRESS IDENTITIES.json

It writes one line of JSON each half second: how many have been answered since the line before began anew.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import grpc

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.calls import CallFailed
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.sent.book import Book, sent_folder
from antiphon.client.sent.recorded import RecordedChannel
from antiphon.core.channel import CLIENT_OPTIONS, coordinator_name
from antiphon.core.golden import GOLDEN
from antiphon.core.logs import configure_logs
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import update_pb2

AT_ONCE = 50
"""Clients of one process that connect at the same time."""
SHAPES = {"m.lora_A.weight": (16, 6), "m.lora_B.weight": (8, 16)}
"""What the run trains."""


class Client:
    """One client: joins, then waits for work for ever. answered_at: when it was answered last."""

    def __init__(
        self, address: str, identity: dict[str, str], fleet: str, metrics: Metrics, book: Book
    ) -> None:
        """Connect at the first call."""
        credentials = grpc.ssl_channel_credentials(
            identity["roots"].encode(), identity["key"].encode(), identity["certificate"].encode()
        )
        options = [
            *CLIENT_OPTIONS,
            ("grpc.ssl_target_name_override", coordinator_name(fleet)),
            ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
        ]
        rng = random.Random(identity["name"])
        self._link = Link(
            lambda: RecordedChannel(
                grpc.aio.secure_channel(address, credentials, options=options), book, address
            ),
            Backoff(rng),
            metrics,
        )
        self.answered_at = 0.0

    async def run(self, gate: asyncio.Semaphore) -> None:
        """Join, then poll."""
        async with gate:
            hello = await self._link.hello()
            await self._link.join(_request(hello))
        self.answered_at = time.time()
        working_on = 0
        while True:
            request = pb.NextTaskRequest(
                run_id=hello.run_id, wait_ms=30_000, working_on_round=working_on
            )
            answer = await self._link.next_task(request)
            self.answered_at = time.time()
            if answer.WhichOneof("task") == "train":  # and train for ever
                working_on = update_pb2.Assignment.FromString(answer.train.assignment).round


def _request(hello: pb.HelloResponse) -> pb.JoinRequest:
    factors = [
        pb.MatrixShape(name=name, rows=rows, columns=columns)
        for name, (rows, columns) in SHAPES.items()
    ]
    return pb.JoinRequest(
        run_id=hello.run_id,
        config_hash=hello.config_hash,
        examples=10,
        capabilities=pb.Capabilities(device_kind="cpu", golden=dict(GOLDEN)),
        space=pb.SpaceReport(factors=factors, model_parameters=1, model_digest=bytes(32)),
    )


async def swarm(address: str, given: dict[str, Any]) -> None:
    """Run the clients of a file of identities."""
    metrics = Metrics()
    book = Book(sent_folder(Path(mkdtemp())), time.time)  # one ledger for all of them
    clients = [Client(address, each, given["fleet"], metrics, book) for each in given["clients"]]
    gate = asyncio.Semaphore(AT_ONCE)
    tasks = [asyncio.create_task(each.run(gate)) for each in clients]
    while True:
        await asyncio.sleep(0.25)
        for task in tasks:
            if task.done() and isinstance(task.exception(), CallFailed):
                raise SystemExit(f"a client gave up: {task.exception()}")
        moments = sorted(each.answered_at for each in clients)
        print(json.dumps({"oldest": moments[0], "median": moments[len(moments) // 2],
                          "joined": sum(each > 0 for each in moments)}), flush=True)  # fmt: skip


if __name__ == "__main__":
    configure_logs("error", "json")  # to stderr: stdout is the benchmark's
    asyncio.run(swarm(sys.argv[1], json.loads(Path(sys.argv[2]).read_text())))
