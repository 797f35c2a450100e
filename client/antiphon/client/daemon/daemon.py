"""The daemon of a client: one process that waits for work, run after run, until it is told to stop.

It loads no model: a child process does (trainer.py). SIGTERM and SIGINT end it in good order, the outbox
kept; SIGHUP makes it read its settings again. A coordinator that is away is waited for, for ever.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import structlog

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.calls import CallFailed, NotAllowed
from antiphon.client.daemon.consent import Consent
from antiphon.client.daemon.contact import Contact
from antiphon.client.daemon.delivery import Delivery
from antiphon.client.daemon.known_runs import KnownRuns
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics, serve_metrics
from antiphon.client.daemon.open_run import Declined
from antiphon.client.daemon.outbox import Outbox
from antiphon.client.daemon.renewal import Renewal
from antiphon.client.daemon.session import Session
from antiphon.client.daemon.settings import load_settings, reloaded
from antiphon.client.daemon.settled_configs import SettledConfigs
from antiphon.client.daemon.tasks import Workbench
from antiphon.client.daemon.trainer import TrainerProgram
from antiphon.client.daemon.voice import voice
from antiphon.core.clock import Clock, SystemClock
from antiphon.core.errors import ConfigError, UserError
from antiphon.core.home import private_folder
from antiphon.core.logs import configure_logs

log = structlog.get_logger()

_FAREWELL_S = 2.0
_LOOK_AGAIN_S = 60.0
_GLANCE_S = 1.0
"""Within this time the owner's decision on a run is seen, seconds."""


class Daemon:
    """One client on one machine; `run` is its whole life."""

    def __init__(
        self,
        folder: Path,
        settings_file: Path,
        *,
        once: bool = False,
        clock: Clock | None = None,
        rng: Random | None = None,
    ) -> None:
        """folder: `client/` in the home folder; once: end with the first run. Raises ConfigError."""
        self._folder, self._file, self._once = folder, settings_file, once
        self._clock, self._rng = clock or SystemClock(), rng or Random()
        self._settings = load_settings(settings_file)
        configure_logs(self._settings.log_level, self._settings.log_format)
        self._consent = Consent(folder, lambda: self._settings.policy)
        self._changed = asyncio.Event()
        self._told = ""

    async def run(self) -> int:
        """Work until told to stop; return the exit code: 1 where `once` met a run without a good end.

        Raises IdentityError where this machine has not joined a fleet, ConfigError for an address that
        cannot be listened on, UserError where another daemon is at work in the same folder, and
        LedgerError where the ledger of what leaves is damaged.
        """
        metrics = Metrics(heard=Contact(self._folder, time.monotonic).heard)
        with ExitStack() as stack:
            stack.enter_context(_alone(private_folder(self._folder)))
            if self._settings.metrics is not None:
                server = serve_metrics(self._settings.metrics, metrics.registry)
                stack.callback(server.close)
            renewal = Renewal(
                self._folder / "identity",
                self._settings.coordinator,
                self._clock,
                metrics,
                Backoff(self._rng),
            )
            renewal.book.say_where()
            stack.callback(renewal.book.close)
            outbox = Outbox(self._folder / "outbox")
            stack.callback(outbox.close)
            return await self._serve(renewal, outbox, metrics)

    async def _serve(self, renewal: Renewal, outbox: Outbox, metrics: Metrics) -> int:
        stop = asyncio.Event()
        with self._signals(stop):
            log.info("client starts", client=renewal.identity.client, fleet=renewal.identity.fleet)
            ready = asyncio.create_task(renewal.usable())
            if not await _first(ready, stop):
                return 0
            ready.result()
            link = Link(renewal.connect, Backoff(self._rng), metrics)
            trainer = TrainerProgram(self._settings.trainer, log=log)
            session = self._session(renewal, link, trainer, outbox, metrics)
            work = asyncio.create_task(self._work(session, link, trainer, renewal))
            keeping = asyncio.create_task(renewal.keep(link))
            try:
                return work.result() if await _first(work, stop) else 0
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                await asyncio.gather(trainer.stop(), _farewell(session, link, stop))
                await link.close()
                log.info("client ends", outbox=len(outbox.entries()))

    def _session(
        self,
        renewal: Renewal,
        link: Link,
        trainer: TrainerProgram,
        outbox: Outbox,
        metrics: Metrics,
    ) -> Session:
        work_dir = Path(self._settings.work_dir or self._folder / "work").expanduser()
        delivery = Delivery(
            link,
            outbox,
            metrics,
            lambda: self._now().date().isoformat(),
            lambda: self._settings.policy,
        )
        bench = Workbench(
            link,
            trainer,
            outbox,
            delivery,
            metrics,
            private_folder(work_dir),
            self._now,
            voice=lambda run, number: voice(renewal.identity, run, number),
        )
        return Session(
            renewal.identity.client,
            link,
            trainer,
            outbox,
            delivery,
            bench,
            metrics,
            self._consent,
            KnownRuns(self._folder),
            SettledConfigs(self._folder),
            settings=lambda: self._settings,
            now=self._now,
            rng=self._rng,
        )

    async def _work(
        self, session: Session, link: Link, trainer: TrainerProgram, renewal: Renewal
    ) -> int:
        again = Backoff(self._rng)
        while True:
            self._changed.clear()
            try:
                finished = await session.run()
            except Declined as declined:
                await self._decline(session, link, trainer, declined)
                if self._once:
                    return 1
                await self._wait(_LOOK_AGAIN_S * self._rng.uniform(0.5, 1.0))
                if self._changed.is_set():
                    session.reconsider()
                continue
            except NotAllowed as refused:
                await self._not_allowed(refused, link, renewal)
            except CallFailed as failed:
                log.warning("starting over", reason=str(failed), status=failed.code.name)
            else:
                again.reset()
                if self._once:
                    return 0 if finished.complete else 1
            await self._wait(again.delay_s())

    async def _decline(
        self, session: Session, link: Link, trainer: TrainerProgram, declined: Declined
    ) -> None:
        """Say why this client takes no part; the same reason once."""
        await trainer.stop()
        reason = str(declined)
        if session.joined or reason != self._told:
            log.warning("taking no part", reason=reason)
            with suppress(CallFailed):
                await link.leave(session.joined, declined.codes)
        session.joined, self._told = "", reason

    async def _not_allowed(self, refused: NotAllowed, link: Link, renewal: Renewal) -> None:
        log.error("the certificate is not accepted; join again", reason=str(refused))
        renewal.reread()
        await renewal.usable()
        await link.reconnect()

    async def _wait(self, seconds: float) -> None:
        """Wait, but not longer than until the settings change, or the owner decides something."""
        until = asyncio.get_running_loop().time() + seconds
        while not self._consent.changed():
            left = until - asyncio.get_running_loop().time()
            if left <= 0 or self._changed.is_set():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _GLANCE_S)):
                    await self._changed.wait()

    @contextmanager
    def _signals(self, stop: asyncio.Event) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            yield
        finally:
            for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(each)

    def _reload(self) -> None:
        try:
            wanted = load_settings(self._file)
        except ConfigError as error:
            log.error("settings not taken over", reason=str(error))
            return
        self._settings, ignored = reloaded(self._settings, wanted)
        configure_logs(self._settings.log_level, self._settings.log_format)
        log.info("settings read again")
        if ignored:
            log.warning("these settings need a restart", keys=", ".join(ignored))
        self._changed.set()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now())


async def _first(work: asyncio.Task[Any], stop: asyncio.Event) -> bool:
    """Wait for some work or the stop; False: it was stopped, and the work is cancelled."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        return work.done()
    finally:
        for each in (work, stopping):
            each.cancel()
        await asyncio.wait((work, stopping))


async def _farewell(session: Session, link: Link, stop: asyncio.Event) -> None:
    if not stop.is_set() or not session.joined:
        return
    with suppress(CallFailed, TimeoutError):
        async with asyncio.timeout(_FAREWELL_S):
            await link.farewell(session.joined, _FAREWELL_S)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder: two daemons with one outbox would answer for each other."""
    descriptor = os.open(folder / "daemon.lock", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"a client is at work in {folder} already: stop it, or give another --home"
            ) from None
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
