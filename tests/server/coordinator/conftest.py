"""A coordinator in this process, on real sockets with real certificates, and clients that do as told."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.strategies.served import sent as sent_delta
from tests.strategies.served import walk

from antiphon.core import golden
from antiphon.core.blob import Blob
from antiphon.core.channel import secure_channel
from antiphon.core.clock import Clock, SteadyClock, VirtualClock
from antiphon.core.config import RunConfig, config_hash, resolved
from antiphon.core.coordinator_settings import CoordinatorSettings
from antiphon.core.directions import run_key
from antiphon.core.events import Event
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, create
from antiphon.core.seed_choice import given
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Update
from antiphon.core.wire import (
    Packed,
    as_safetensors,
    pack_blob,
    pack_update,
    unpack_assignment,
    unpack_model,
    update_blob,
)
from antiphon.server.coordinator.engine import Engine
from antiphon.server.coordinator.leases import Leases
from antiphon.server.coordinator.serve import Coordinator, Listening
from antiphon.server.enrolment.authority import create_authority
from antiphon.server.enrolment.fleet import Fleet
from antiphon.server.enrolment.ledger import Ledger
from antiphon.server.enrolment.registrar import Registrar
from antiphon.server.enrolment.tokens import new_token, written
from antiphon.server.federation import Federation
from antiphon.server.planning.agreement import reported_space
from antiphon.strategies.methods.method import method_of
from antiphon.v1 import coordinator_pb2 as pb
from antiphon.v1 import coordinator_pb2_grpc

SHAPES = {"m.lora_A.weight": (4, 6), "m.lora_B.weight": (8, 4)}
SPACE = SpaceShapes(SHAPES, {}, "tiny", 48, "01" * 32)
PATIENCE_S = 20.0


@pytest.fixture
def new_federation(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> Any:
    """`with new_federation("rounds=1") as federation`: on a journal of its own; folder: goes on there."""

    @contextmanager
    def made(
        *overrides: str, folder: RunFolder | None = None, clock: Clock | None = None
    ) -> Iterator[Federation]:
        config = tiny_config("evaluation.before_first_round=false", "lora.r=4", *overrides)
        here = folder or create(tmp_path / "runs", "run", resolved(config), config_hash(config))
        with Journal.writing(here.journal_file) as journal:
            yield Federation(config, here, journal, SPACE, clock or VirtualClock())

    return made


@asynccontextmanager
async def engine_of(
    federation: Federation, clock: VirtualClock | None = None, min_clients: int = 2
) -> AsyncIterator[Engine]:
    """An engine at work on a federation, until the block ends."""
    time_ = clock or VirtualClock()
    leases = Leases(time.monotonic, lease_s=60.0, check_ins_per_s=500.0)
    with ThreadPoolExecutor(1) as thread:
        engine = Engine(federation, time_, leases, thread)
        running = asyncio.ensure_future(engine.run(min_clients))
        try:
            yield engine
        finally:
            running.cancel()
            await asyncio.wait([running])


async def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as a condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 (conditions of code that has no event to tell)
            await asyncio.sleep(0.005)


def journalled(folder: RunFolder, kind: type[Event] | None = None) -> list[Any]:
    """The events of a run, of one kind or all, as another process reads them."""
    with Journal.reading(folder.journal_file) as journal:
        events = [entry.event for entry in journal.read()]
    return [each for each in events if kind is None or isinstance(each, kind)]


@pytest.fixture
def fleet(tmp_path: Path) -> Any:
    """A fleet whose certificates are thrown away with the test."""
    folder = tmp_path / "home" / "fleet"
    authority = create_authority(folder, "testers", None, time.time())
    fleet = Fleet(folder, authority, Ledger(folder / "fleet.sqlite", new=True))
    yield fleet
    fleet.close()


@dataclass
class Running:
    """A coordinator at work. task: ends with the run."""

    coordinator: Coordinator
    where: Listening
    fleet: Fleet
    folder: RunFolder
    config: RunConfig
    task: asyncio.Task[Any]

    @property
    def address(self) -> str:
        """Where clients call."""
        return f"127.0.0.1:{self.where.coordinator}"


Serve = Callable[..., Any]


@pytest.fixture
def serve(fleet: Fleet, tiny_config: Callable[..., RunConfig], tmp_path: Path) -> Serve:
    """`async with serve("rounds=1") as running`: a coordinator of a small run, until the block ends.

    fixed: its operator has said what the run trains, so that whoever joins is let in at once.
    """

    @asynccontextmanager
    async def serve(
        *overrides: str,
        folder: RunFolder | None = None,
        clock: SteadyClock | None = None,
        fixed: bool = True,
        from_round: int | None = None,
        **settings: Any,
    ) -> Any:
        config = tiny_config("evaluation.before_first_round=false", "lora.r=4", *overrides)
        made = folder or create(tmp_path / "runs", "run", resolved(config), config_hash(config))
        ports = {"listen": "127.0.0.1:0", "enrolment": "127.0.0.1:0", "metrics": None}
        chosen = CoordinatorSettings(**{**ports, "drain_s": 0.5, **settings})
        listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
        with Journal.writing(made.journal_file) as journal:
            coordinator = Coordinator(
                config,
                made,
                journal,
                fleet,
                chosen,
                space=reported_space(space_report(config), config) if fixed else None,
                from_round=from_round,
                on_listening=listening.set_result,
                clock=clock,
            )
            task = asyncio.ensure_future(coordinator.run())
            await asyncio.wait([task, listening], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            try:
                yield Running(coordinator, listening.result(), fleet, made, config, task)
            finally:
                coordinator.stop()
                await asyncio.wait([task], timeout=PATIENCE_S)
            task.result()

    return serve


@dataclass
class Site:
    """A client that does what a test tells it: calls by hand, over mutual TLS."""

    name: str
    running: Running
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        """The service's methods."""
        return coordinator_pb2_grpc.CoordinatorStub(self.channel)

    @property
    def run_id(self) -> str:
        """The run's name on the wire."""
        return self.running.coordinator.admission.run_id

    async def join(self, examples: int = 10, **changes: Any) -> Any:
        """Take part, with the shapes of SHAPES."""
        request = pb.JoinRequest(
            run_id=self.run_id,
            config_hash=config_hash(self.running.config),
            examples=examples,
            capabilities=pb.Capabilities(device_kind="cpu", golden=dict(golden.GOLDEN)),
            space=space_report(self.running.config),
        )
        for key, value in changes.items():
            if hasattr(value, "CopyFrom"):
                getattr(request, key).CopyFrom(value)
            else:
                setattr(request, key, value)
        return await self.stub.Join(request, timeout=PATIENCE_S)

    async def poll(self, wait_s: float = 0.0, **in_hand: Any) -> Any:
        """Ask for work."""
        request = pb.NextTaskRequest(run_id=self.run_id, wait_ms=int(wait_s * 1000), **in_hand)
        return await self.stub.NextTask(request, timeout=PATIENCE_S)

    async def next(self, kind: str) -> Any:
        """Ask until there is a task of this kind."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            answer = await self.poll(wait_s=1.0)
            if answer.WhichOneof("task") == kind:
                return getattr(answer, kind)
        raise AssertionError(f"no task {kind} within {PATIENCE_S} s")

    def update(self, assignment: bytes, value: float = 0.01, **changes: Any) -> Packed:
        """Make an update for an assignment: all factors move by `value`, or one scalar of `value`."""
        asked, _ = unpack_assignment(assignment, self.name, self.run_id)
        if asked.method == "seeds":
            config = self.running.config
            along = given(asked, run_key(config.seed), config.seeds.num_seeds)[:1]
            payload: Any = walk(along, np.array([value], np.float32))
        else:
            payload = sent_delta({n: np.full(s, value, np.float32) for n, s in SHAPES.items()})
        update = Update(self.name, asked.round, 10, 1, payload, {"loss": 2.0})
        pack = None if asked.method == "seeds" else as_safetensors
        return pack_update(Update(**{**vars(update), **changes}), self.run_id, pack)

    async def submit(self, message: bytes) -> Any:
        """Hand a message in."""
        return await self.stub.SubmitUpdate(
            pb.SubmitUpdateRequest(update=message), timeout=PATIENCE_S
        )

    async def upload(
        self, content: bytes, blob: Blob, offset: int = 0, chunk: int = 100, pause: Any = None
    ) -> int:
        """Send a blob's content from an offset on; `pause` is awaited before each message."""

        async def chunks() -> AsyncIterator[pb.UploadChunk]:
            head = {"run_id": self.run_id, "blob": pack_blob(blob), "offset": offset}
            for start in range(offset, len(content), chunk):
                if pause is not None:
                    await pause(start)
                yield pb.UploadChunk(content=content[start : start + chunk], **head)
                head = {}

        answer = await self.stub.Upload(chunks(), timeout=PATIENCE_S)
        return int(answer.offset)

    async def arrived(self, blob: Blob) -> int:
        """Ask how much of a blob is there."""
        request = pb.UploadStatusRequest(run_id=self.run_id, blob=pack_blob(blob))
        return int((await self.stub.UploadStatus(request, timeout=PATIENCE_S)).offset)

    async def deliver(self, packed: Packed) -> Any:
        """Hand an update in, with its blob."""
        answer = await self.submit(packed.message)
        if answer.verdict == pb.SubmitUpdateResponse.UPLOAD_FIRST:
            blob = update_blob(packed.message)
            assert blob is not None
            assert packed.content is not None
            await self.upload(packed.joined, blob, await self.arrived(blob))
            answer = await self.submit(packed.message)
        return answer

    async def work_a_round(self, value: float = 0.01) -> Any:
        """Take the next training task, and deliver."""
        task = await self.next("train")
        return await self.deliver(self.update(task.assignment, value))

    async def measure(self, loss: float = 2.0) -> Any:
        """Take the next evaluation, and answer it."""
        task = await self.next("evaluate")
        request = pb.SubmitEvaluationRequest(
            run_id=self.run_id, round=task.round, examples=20, metrics={"loss": loss}
        )
        return await self.stub.SubmitEvaluation(request, timeout=PATIENCE_S)

    async def play(self) -> None:
        """Be a good client until the run is over: the same values whenever and however often asked."""
        await self.join()
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            answer = await self.poll(wait_s=1.0)
            match answer.WhichOneof("task"):
                case "train":
                    asked, _ = unpack_assignment(answer.train.assignment, self.name, self.run_id)
                    value = 0.01 * asked.round + 0.001 * len(self.name)
                    await self.deliver(self.update(answer.train.assignment, value))
                case "evaluate":
                    request = pb.SubmitEvaluationRequest(
                        run_id=self.run_id, round=answer.evaluate.round, examples=20,
                        metrics={"loss": 2.0 + 0.1 * len(self.name)},
                    )  # fmt: skip
                    await self.stub.SubmitEvaluation(request, timeout=PATIENCE_S)
                case "over":
                    return
        raise AssertionError(f"the run is not over within {PATIENCE_S} s")

    async def download(self, sha256: bytes, offset: int = 0) -> bytes:
        """Fetch a model."""
        request = pb.DownloadRequest(run_id=self.run_id, sha256=sha256, offset=offset)
        stream = self.stub.Download(request, timeout=PATIENCE_S)
        return b"".join([chunk.content async for chunk in stream])

    async def model_of(self, task: Any, folder: Path) -> Any:
        """Fetch and unpack the model that a training task starts from."""
        _, blob = unpack_assignment(task.assignment, self.name, self.run_id)
        file = folder / blob.sha256
        file.write_bytes(await self.download(bytes.fromhex(blob.sha256)))
        return unpack_model(file, blob.encoding).arrays


def space_report(config: RunConfig, digest: bytes = b"\1" * 32) -> pb.SpaceReport:
    """What a client says the run trains: SHAPES, or one weight for seeds that move the weights."""
    if method_of(config).space.trains_weights:
        weights = [pb.MatrixShape(name="m", rows=8, columns=6)]
        return pb.SpaceReport(weights=weights, model_parameters=48, model_digest=digest)
    factors = [pb.MatrixShape(name=n, rows=r, columns=c) for n, (r, c) in SHAPES.items()]
    return pb.SpaceReport(factors=factors, model_parameters=48, model_digest=digest)


def certify(fleet: Fleet, name: str, ttl_s: float = 3600.0) -> tuple[bytes, bytes]:
    """Enrol a client by the front door; return its key and its certificate, PEM."""
    registrar = Registrar(
        fleet.authority, fleet.ledger, time.time, fleet.random, coordinator_port=1, ttl_s=ttl_s
    )
    token = new_token(name, 1, time.time() + 60, fleet.random)
    fleet.ledger.add_token(token)
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    der = registrar.enrol(written(token), request).certificate
    pem = x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        pem,
    )


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """Return how a call is refused: its status and the reason that the caller sees."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), str(caught.value.details())


def channel_of(running: Running, shown: tuple[bytes, bytes] | None) -> grpc.aio.Channel:
    """A channel that trusts the fleet and shows this key and certificate, PEM."""
    root = running.fleet.authority.roots[0].public_bytes(serialization.Encoding.PEM)
    credentials = grpc.ssl_channel_credentials(root, *(shown or ()))
    return secure_channel(running.address, credentials, "testers")


@asynccontextmanager
async def sites(running: Running, *names: str) -> AsyncIterator[tuple[Site, ...]]:
    """Enrolled clients with open channels, until the block ends."""
    made = [
        Site(name, running, channel_of(running, certify(running.fleet, name))) for name in names
    ]
    try:
        yield tuple(made)
    finally:
        for site in made:
            await site.channel.close()


def sha256(content: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(content).hexdigest()
