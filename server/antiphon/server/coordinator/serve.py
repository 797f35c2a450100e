"""A coordinator as a process: its servers, its engine, its signals, from start to end.

SIGTERM and SIGINT drain: calls in progress are finished, the journal is closed, and the run goes on with
`--resume`. SIGHUP reads the settings again. Whatever ends it, nothing that was acknowledged is lost.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import structlog

from antiphon.core.channel import SERVER_OPTIONS
from antiphon.core.clock import SteadyClock
from antiphon.core.config import RunConfig
from antiphon.core.coordinator_settings import CoordinatorSettings, reloaded
from antiphon.core.errors import ConfigError, UpdateError, UserError
from antiphon.core.events import ClientDeclined, ClientJoined
from antiphon.core.files import write_text
from antiphon.core.http_pages import HttpPages
from antiphon.core.journal import Journal
from antiphon.core.json_text import json_text
from antiphon.core.logs import configure_logs
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.server.coordinator.admission import Admission, Refused
from antiphon.server.coordinator.allocator import return_memory_at_once
from antiphon.server.coordinator.chatter import Chatter
from antiphon.server.coordinator.downloads import Downloads
from antiphon.server.coordinator.engine import Engine
from antiphon.server.coordinator.known_space import known_space
from antiphon.server.coordinator.leases import Leases
from antiphon.server.coordinator.metrics import CoordinatorMetrics, coordinator_pages
from antiphon.server.coordinator.service import CoordinatorService
from antiphon.server.coordinator.spool import Spool
from antiphon.server.coordinator.status import status_of
from antiphon.server.enrolment.access import EACH, Access, calling_client
from antiphon.server.enrolment.door import Door
from antiphon.server.enrolment.failure_limit import FailureLimit
from antiphon.server.enrolment.fleet import Fleet
from antiphon.server.enrolment.ledger import ClientRefused
from antiphon.server.enrolment.open_calls import OpenCalls
from antiphon.server.enrolment.registrar import Registrar
from antiphon.server.enrolment.requests import BadRequest
from antiphon.server.enrolment.server_certificate import ServerCertificate
from antiphon.server.enrolment.service import EnrolmentService, serve_enrolment
from antiphon.server.folding.fold_secret import kept_secret
from antiphon.server.front.front import Front
from antiphon.server.machine.actions import Finish
from antiphon.server.planning.plans import clients_needed
from antiphon.server.run_begin import begin_run
from antiphon.server.run_end import end_run
from antiphon.v1 import coordinator_pb2_grpc, enrolment_pb2

log = structlog.get_logger()

_MB = 1_000_000
_NOTE_SEEN_EVERY_S = 10.0
_LOOP_LAG_EVERY_S = 1.0


@dataclass(frozen=True)
class Listening:
    """Where a coordinator listens, once it does: ports; none where it does not."""

    coordinator: int
    enrolment: int | None
    metrics: int | None


class Coordinator:
    """One run on the network. `run` does it all; it belongs to one event loop."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        journal: Journal,
        fleet: Fleet,
        settings: CoordinatorSettings,
        *,
        space: SpaceShapes | None = None,
        from_round: int | None = None,
        read_settings: Callable[[], CoordinatorSettings] | None = None,
        on_listening: Callable[[Listening], None] = lambda where: None,
        clock: SteadyClock | None = None,
    ) -> None:
        """space: what the run trains, where the operator has fixed it; from_round: as the federation takes
        it; read_settings: reads them again at SIGHUP; on_listening: hears when clients can come; clock: of
        deadlines and of the journal; none: the machine's.
        """
        self._config, self._folder, self._journal, self._fleet = config, folder, journal, fleet
        self._settings, self._read_settings = settings, read_settings
        self._on_listening = on_listening
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="federation")
        self._leases = Leases(
            time.monotonic, lease_s=settings.lease_s, check_ins_per_s=settings.check_ins_per_s
        )
        self._clock = clock or SteadyClock()
        self._spool = Spool(
            folder,
            max_bytes=int(settings.max_upload_mb * _MB),
            floor_bytes=int(settings.free_disk_floor_mb * _MB),
        )
        self.admission = Admission(
            config,
            folder.run_id(),
            self._open,
            lambda: self._spool.max_bytes,
            now=time.monotonic,
        )
        for entry in journal.read(kinds=[ClientDeclined, ClientJoined]):
            self.admission.declines.hear(entry.event)
        self._space, self._from_round = space, from_round
        self._service: CoordinatorService | None = None
        self._metrics = CoordinatorMetrics()
        self._running: asyncio.Task[Finish] | None = None
        self._opened = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> Finish | None:
        """Serve until the run is over, or until stopped; None: stopped, to be resumed.

        Raises RunFolderError where the disk does not take the journal, UserError where an address cannot
        be listened on.
        """
        _raise_file_limit()
        return_memory_at_once()
        async with AsyncExitStack() as stack:
            stack.callback(self._thread.shutdown)
            where = await self._listen(stack)
            self._handle_signals()
            self._say_where(where, stack)
            self._on_listening(where)
            finish = await self._until_over()
            self._drain()
        if finish is not None:
            await asyncio.to_thread(self._conclude, finish)
        return finish

    def _say_where(self, where: Listening, stack: AsyncExitStack) -> None:
        if where.metrics is not None and self._settings.metrics is not None:
            host = self._settings.metrics.rpartition(":")[0].replace("0.0.0.0", "127.0.0.1")
            written = {"pid": os.getpid(), "status": f"{host}:{where.metrics}"}
            write_text(self._folder.live_file, json_text(written) + "\n")
            stack.callback(self._folder.live_file.unlink, missing_ok=True)

    def stop(self) -> None:
        """Drain, and let `run` return."""
        self._stop.set()

    async def _listen(self, stack: AsyncExitStack) -> Listening:
        fleet, settings = self._fleet, self._settings
        certificate = ServerCertificate(fleet.authority, fleet.folder, time.time)
        access = Access(
            fleet.authority.fleet,
            fleet.ledger,
            time.time,
            on_refusals=self._expel_the_revoked,
            calls=OpenCalls(time.monotonic, each=EACH, total=settings.max_concurrent_calls),
        )
        chatter = Chatter()
        server = grpc.aio.server(
            options=[*SERVER_OPTIONS],
            interceptors=[access, chatter],
            # The guard says who goes: gRPC would turn away whoever is last.
            maximum_concurrent_rpcs=2 * settings.max_concurrent_calls,
        )
        front = Front(settings.listen, access.lines)
        stack.push_async_callback(asyncio.to_thread, front.close)
        server.add_secure_port(front.inside, certificate.credentials(clients=True))
        registrar = Registrar(
            fleet.authority,
            fleet.ledger,
            time.time,
            fleet.random,
            coordinator_port=front.port,
            ttl_s=settings.certificate_ttl_h * 3600,
            grace_s=settings.renewal_grace_d * 86_400,
            elapsed=time.monotonic,
        )
        service = self._service = CoordinatorService(
            self._config,
            self.admission,
            self._spool,
            identify=lambda context: calling_client(),
            renewal=lambda client, request: _renewed(registrar, client, request),
            traffic=self._metrics,
            chatter=chatter,
            downloads=Downloads(
                time.monotonic, lambda peer: access.lines.hang_up(peer, "a download is not read")
            ),
            upload_slots=settings.upload_slots,
        )
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(service, server)
        enrolment_port = await self._enrol(stack, registrar, certificate)
        metrics_port = self._show(stack)
        stack.push_async_callback(self._end_engine)
        if (space := self._known_space()) is not None:  # before the first call can ask for it
            self.admission.engine = await self._open(space)
            await self._expel_the_revoked()
        await self._take_calls(stack, server, front)
        for work in (
            access.watch(),
            self._note_seen(),
            self._watch_the_loop(),
        ):
            stack.callback(asyncio.ensure_future(work).cancel)
        return Listening(front.port, enrolment_port, metrics_port)

    async def _take_calls(
        self, stack: AsyncExitStack, server: grpc.aio.Server, front: Front
    ) -> None:
        await server.start()
        stack.push_async_callback(server.stop, self._settings.drain_s)
        front.start()
        stack.callback(front.refuse)

    async def _enrol(
        self, stack: AsyncExitStack, registrar: Registrar, certificate: ServerCertificate
    ) -> int | None:
        """Let machines join, where the settings say so; return the port."""
        if self._settings.enrolment is None:
            return None
        joining = EnrolmentService(registrar, FailureLimit(time.monotonic))
        door = Door(time.monotonic)
        serving = serve_enrolment(self._settings.enrolment, joining, certificate, door=door)
        port = await stack.enter_async_context(serving)
        stack.callback(asyncio.ensure_future(door.watch()).cancel)
        return port

    def _show(self, stack: AsyncExitStack) -> int | None:
        """Serve metrics and status, where the settings say so; return the port."""
        if self._settings.metrics is None:
            return None
        pages = _pages(self._settings.metrics, self._metrics, self.status)
        stack.callback(pages.close)
        return pages.port

    def _known_space(self) -> SpaceShapes | None:
        """Return what the run trains, if that is known before anybody joins. Raises UserError."""
        known = known_space(self._space, self._folder, self._journal, self._config)
        try:
            if known is not None and not self._folder.space_file.exists():
                self.admission.check_size(known)
        except Refused as error:
            raise UserError(str(error)) from None
        return known

    async def _open(self, space: SpaceShapes) -> Engine:
        """Begin the run, or take it up again."""
        begun = partial(begin_run, self._config, self._folder, self._journal, space, self._clock)
        secret = kept_secret(self._fleet.folder, self._fleet.random)
        federation = await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: begun(engine="grpc", from_round=self._from_round, secret=secret)
        )
        # No await from here on: the caller may hang up, and a run must not begin twice.
        engine = Engine(federation, self._clock, self._leases, self._thread)
        engine.may_plan = self._obstacle
        engine.on_verdict = self._metrics.answered
        self._running = asyncio.ensure_future(engine.run(clients_needed(self._config)))
        self._opened.set()
        return engine

    async def _until_over(self) -> Finish | None:
        stopped = asyncio.ensure_future(self._stop.wait())
        opened = asyncio.ensure_future(self._opened.wait())
        await asyncio.wait([stopped, opened], return_when=asyncio.FIRST_COMPLETED)
        if self._running is not None:
            await asyncio.wait([stopped, self._running], return_when=asyncio.FIRST_COMPLETED)
        for waiting in (stopped, opened):
            waiting.cancel()
        if self._running is not None and self._running.done():
            return self._running.result()
        log.info("draining")
        return None

    async def _expel_the_revoked(self) -> None:
        """Let the run know of the clients that the operator has revoked."""
        engine = self.admission.engine
        if engine is not None:
            clients = await asyncio.to_thread(self._fleet.ledger.clients)
            revoked = [each.name for each in clients if each.revoked_at is not None]
            engine.revoke(revoked)
            for client in revoked:
                await self._spool.clear(client)

    def _drain(self) -> None:
        self.admission.drain()
        if self.admission.engine is not None:
            self.admission.engine.drain()

    async def _end_engine(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _conclude(self, finish: Finish) -> None:
        engine = self.admission.engine
        assert engine is not None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        log.info("run over", complete=finish.complete, reason=finish.reason)
        end_run(engine.federation, finish, {"peak_memory_bytes": peak})

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        if self._read_settings is None:
            log.warning("no settings file to read again: start with --settings")
            return
        try:
            wanted = self._read_settings()
        except ConfigError as error:
            log.error("settings not reloaded", reason=str(error))
            return
        self._settings, fixed = reloaded(self._settings, wanted)
        configure_logs(self._settings.log_level, self._settings.log_format)
        if self._service is not None:
            self._service.set_upload_slots(self._settings.upload_slots)
        self._leases.shortest_s = self._settings.lease_s
        self._leases.check_ins_per_s = self._settings.check_ins_per_s
        self._spool.max_bytes = int(self._settings.max_upload_mb * _MB)
        self._spool.floor_bytes = int(self._settings.free_disk_floor_mb * _MB)
        log.info("settings reloaded", need_a_restart=list(fixed))

    def _obstacle(self) -> str | None:
        free = self._spool.free_bytes()
        if free >= self._spool.floor_bytes:
            return None
        return f"{free / 1e6:.0f} MB of disk are free, {self._spool.floor_bytes / 1e6:.0f} are kept free"

    def status(self) -> Mapping[str, Any]:
        """Return what the run is at, as plain values."""
        rounds = self._config.rounds
        return status_of(self.admission, rounds, self._leases, self._obstacle(), self._clock.now())

    async def _note_seen(self) -> None:
        while True:
            await asyncio.sleep(_NOTE_SEEN_EVERY_S)
            now, facts = time.time(), self.admission.facts
            silences = self._leases.silences()
            signs = {
                name: (now - silence, facts.get(name, {})) for name, silence in silences.items()
            }
            self._metrics.clients.set(len(signs))
            if signs:
                try:
                    await asyncio.to_thread(self._fleet.ledger.saw, signs)
                except Exception as error:  # for people's eyes only: the run does not depend on it
                    log.warning("last calls not noted", reason=str(error)[:200])

    async def _watch_the_loop(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(_LOOP_LAG_EVERY_S)
            late = time.monotonic() - before - _LOOP_LAG_EVERY_S
            self._metrics.loop_lag.observe(max(0.0, late))
            if (jump_s := self._clock.jump_s()) is not None:
                log.warning("the system's clock was set; deadlines stay", by_s=round(jump_s, 1))
            if self.admission.engine is not None:
                self._metrics.round.set(self.admission.engine.round)


async def _renewed(registrar: Registrar, client: str, request: bytes) -> enrolment_pb2.Certificate:
    try:
        return await asyncio.to_thread(registrar.renew, client, request)
    except (BadRequest, ClientRefused) as error:
        raise UpdateError(str(error)) from None


def _pages(address: str, metrics: CoordinatorMetrics, status: Callable[[], Any]) -> HttpPages:
    try:
        return HttpPages(address, coordinator_pages(metrics.registry, status))
    except OSError as error:
        raise UserError(
            f"cannot serve metrics on {address}: {error.strerror}. Set `metrics` to another address"
        ) from None


def _raise_file_limit() -> None:
    """A waiting client holds three descriptors; the system allows about a thousand by default."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
