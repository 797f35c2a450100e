"""What a flood costs a coordinator, and what an honest client notices of it.

    python -m benchmarks.floods [KIND ...] [--seconds 20]

Real processes on the loopback: `antiphon serve`, an attacker for each flood (benchmarks.flood), and an
honest client of another certificate that calls all the time, half of the time on a connection of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
from tests.network.fleet import ROOT, ProcessFleet

from antiphon.core.channel import CLIENT_OPTIONS, coordinator_name
from antiphon.core.golden import GOLDEN
from antiphon.core.journal import Journal
from antiphon.core.wire import unpack_assignment
from antiphon.server.enrolment.fleet import open_fleet
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc, enrolment_pb2, enrolment_pb2_grpc
from benchmarks.network_round import config, shapes
from benchmarks.parked_clients import identity
from benchmarks.raw_http2 import HEADERS, RST_STREAM, RawHttp2

_PARAMETERS = 5_000_000
_PATIENCE_S = 30.0


class Client:
    """A client of the fleet, by hand."""

    def __init__(self, fleet: ProcessFleet, shown: dict[str, str]) -> None:
        """Connect at the first call."""
        self._fleet, self._shown = fleet, shown
        self.stub = coordinator_pb2_grpc.CoordinatorStub(self.channel())
        self.run_id = ""

    def channel(self, port: str = "listen") -> grpc.Channel:
        """Open a connection of its own."""
        known = self._shown if port == "listen" else {}
        credentials = grpc.ssl_channel_credentials(
            self._shown["roots"].encode(),
            *(known[each].encode() for each in ("key", "certificate") if known),
        )
        options = [
            *CLIENT_OPTIONS,
            ("grpc.ssl_target_name_override", coordinator_name("fleet")),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        address = f"127.0.0.1:{self._fleet.ports[port]}"
        return grpc.secure_channel(address, credentials, options=options)

    def hello(self) -> None:
        """Make a small call."""
        self.stub.Hello(pb.HelloRequest(), timeout=_PATIENCE_S)

    def hello_anew(self) -> None:
        """Make a small call on a connection of its own."""
        with self.channel() as channel:
            stub = coordinator_pb2_grpc.CoordinatorStub(channel)
            stub.Hello(pb.HelloRequest(), timeout=_PATIENCE_S)

    def challenge(self) -> None:
        """Make a small call to enrolment on a connection of its own."""
        with self.channel("enrolment") as channel:
            stub = enrolment_pb2_grpc.EnrolmentStub(channel)
            stub.Challenge(enrolment_pb2.ChallengeRequest(), timeout=_PATIENCE_S)

    def join(self) -> None:
        """Become a member of the run."""
        hello = self.stub.Hello(pb.HelloRequest(), timeout=_PATIENCE_S)
        self.run_id = hello.run_id
        factors = [
            pb.MatrixShape(name=name, rows=rows, columns=columns)
            for name, (rows, columns) in shapes(_PARAMETERS).items()
        ]
        request = pb.JoinRequest(
            run_id=hello.run_id,
            config_hash=hello.config_hash,
            examples=10,
            capabilities=pb.Capabilities(device_kind="cpu", golden=dict(GOLDEN)),
            space=pb.SpaceReport(factors=factors, model_parameters=1, model_digest=bytes(32)),
        )
        self.stub.Join(request, timeout=_PATIENCE_S)

    def model(self) -> str:
        """Wait for a task; return the SHA-256 of its model, hex."""
        while True:
            request = pb.NextTaskRequest(run_id=self.run_id, wait_ms=1000)
            answer = self.stub.NextTask(request, timeout=_PATIENCE_S)
            if answer.WhichOneof("task") == "train":
                _, blob = unpack_assignment(answer.train.assignment, "honest", self.run_id)
                return blob.sha256

    def download(self) -> None:
        """Fetch the model."""
        request = pb.DownloadRequest(run_id=self.run_id, sha256=bytes.fromhex(self.model()))
        for _ in self.stub.Download(request, timeout=_PATIENCE_S):
            pass


@dataclass
class Watch:
    """What was seen while a flood went on. Sizes: bytes over idle; times: seconds."""

    calls: int = 0
    failed: int = 0
    slowest_s: float = 0.0
    most_bytes: int = 0
    reasons: set[str] = field(default_factory=set)

    def timed(self, call: Callable[[], None]) -> None:
        """Make an honest call."""
        start = time.monotonic()
        try:
            call()
        except grpc.RpcError as error:
            self.failed += 1
            self.reasons.add(f"{error.code().name}: {error.details()}"[:120])
        self.calls += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - start)

    @contextmanager
    def sampled(self, process: psutil.Process) -> Iterator[None]:
        """Note the memory of a process, beside what this block does."""
        idle, done = process.memory_info().rss, threading.Event()

        def sample() -> None:
            while not done.wait(0.05):
                self.most_bytes = max(self.most_bytes, process.memory_info().rss - idle)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@dataclass
class Scene:
    """A coordinator at work with an honest member, and certificates for attackers."""

    fleet: ProcessFleet
    honest: Client
    attacker: Client
    identities: Path
    one: Path
    sha256: str

    @property
    def process(self) -> psutil.Process:
        """The coordinator."""
        return psutil.Process(self.fleet.processes["coordinator"].pid)


@contextmanager
def scene(attackers: int) -> Iterator[Scene]:
    """Start a coordinator, with so many certificates for attackers; all of them are members."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fleet = ProcessFleet(folder, config(5, 1, "factors") | {"name": "floods"})
        try:
            fleet.serve(settings={"log_level": "error"})
            fleet.wait_until_served()
            opened = open_fleet(fleet.home)
            everybody = [identity(opened, f"flood-{number}") for number in range(attackers)]
            honest = Client(fleet, identity(opened, "honest"))
            opened.close()
            honest.join()
            sha256 = honest.model()
            for each in everybody:
                attacker = Client(fleet, each)
                attacker.join()
            files = {"all": everybody, "one": everybody[:1]}
            for file, content in files.items():
                (folder / f"{file}.json").write_text(json.dumps(content))
            yield Scene(fleet, honest, attacker, folder / "all.json", folder / "one.json", sha256)
        finally:
            fleet.close()


def flooded(kind: str, seconds: float, *, attackers: int = 1, enrolment: bool = False) -> str:
    """Let one flood go on for a time; return its row."""
    with scene(attackers) as here:
        watch, honest = Watch(), here.honest
        calls = [honest.challenge] if enrolment else [honest.hello, honest.hello_anew]
        if kind == "unread_downloads":
            calls.append(honest.download)
        for call in calls:
            call()
        port = here.fleet.ports["enrolment" if enrolment else "listen"]
        command = [sys.executable, "-m", "benchmarks.flood", kind, f"127.0.0.1:{port}"]
        known = [str(here.identities), honest.run_id, here.sha256]
        with watch.sampled(here.process):
            attacker = subprocess.Popen([*command, *known], cwd=ROOT, stdout=subprocess.PIPE)
            try:
                assert attacker.stdout is not None
                attacker.stdout.readline()
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    for call in calls:
                        watch.timed(call)
                    time.sleep(0.02)
            finally:
                attacker.kill()
                attacker.wait()
        print(sorted(watch.reasons), file=sys.stderr)
        return (
            f"| {kind.replace('_', ' ')}, {attackers} certificates | {watch.most_bytes / 1e6:.0f} MB | "
            f"{watch.slowest_s:.2f} s | {watch.failed} of {watch.calls} |"
        )


def spammed(seconds: float) -> str:
    """Let a client join and leave for a time; return how many lines of the journal it fills in a minute."""
    with scene(1) as here:
        request = pb.LeaveRequest(run_id=here.attacker.run_id)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for call in (here.attacker.join, lambda: here.attacker.stub.Leave(request)):
                with suppress(grpc.RpcError):
                    call()
        with Journal.reading(here.fleet.run_folder.journal_file) as journal:
            lines = sum(getattr(each.event, "client", "") == "flood-0" for each in journal.read())
    return f"lines of the journal within {seconds:g} s by joining and leaving: {lines}"


def lingering(seconds: float) -> str:
    """Revoke a client with 8 half-open calls; return how many of them are open after a time."""
    with scene(1) as here:
        shown = json.loads(here.identities.read_text())[0]
        line = RawHttp2(f"127.0.0.1:{here.fleet.ports['listen']}", shown, {})
        for number in range(8):
            line.headers(2 * number + 1, "/antiphon.v1.Coordinator/NextTask")
        ended: set[int] = set()

        def read() -> None:
            with suppress(OSError, EOFError):
                while True:
                    kind, flags, stream = line.frame()
                    if kind == RST_STREAM or (kind == HEADERS and flags & 1):
                        ended.add(stream)
            ended.update(range(1, 16, 2))

        threading.Thread(target=read, daemon=True).start()
        time.sleep(1)
        fleet = open_fleet(here.fleet.home)
        fleet.ledger.revoke("flood-0", time.time())
        fleet.close()
        time.sleep(seconds)
        return f"half-open calls of 8 left {seconds:g} s after their client was revoked: {8 - len(ended)}"


FLOODS: dict[str, dict[str, Any]] = {
    "half_open_enrolment": {"enrolment": True},
    "half_open_uploads": {},
    "continuation": {},
    "continuation_fields": {},
    "continuation_indexed": {},
    "continuation_after_a_call": {},
    "unread_downloads": {},
    "unread_downloads_of_many": {"attackers": 100},
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", choices=[*FLOODS, []])
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    print("| Flood | Memory over idle | Slowest honest call | Honest calls that failed |")
    print("|---|---|---|---|", flush=True)
    for kind in given.kinds or FLOODS:
        name = kind.removesuffix("_of_many")
        print(flooded(name, given.seconds, **FLOODS[kind]), flush=True)
    if not given.kinds:
        print(f"\n* {spammed(given.seconds)}\n* {lingering(5.0)}")


if __name__ == "__main__":
    main()
