"""A certificate is exchanged for a new one long before it runs out, with a new key each time.

So is one that is not valid yet: it was issued while a clock was wrong, and would be refused until then. A
coordinator whose certificates hold for a moment only cannot make a client ask without a pause.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from antiphon.client.daemon import identity as identities
from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.calls import CallFailed
from antiphon.client.daemon.identity import Identity
from antiphon.client.daemon.join import renew_expired
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.sent.book import Book, sent_folder
from antiphon.client.sent.recorded import RecordedChannel, site_channel
from antiphon.core.clock import Clock
from antiphon.core.identity import IdentityError

log = structlog.get_logger()

LEAST_BETWEEN_S = 20.0
"""Between two certificates, whatever life they are given, seconds."""

_LOOK_EVERY_S = 600.0  # a machine that slept, or whose clock was set, must not miss its day
_RETRY_EVERY_S = 60.0


class Renewal:
    """The identity of now, and what keeps it valid."""

    def __init__(
        self,
        folder: Path,
        address: str | None,
        clock: Clock,
        metrics: Metrics,
        backoff: Backoff,
        *,
        elapsed: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """folder: of the identity; address: of the coordinator, if not the one in the identity.

        elapsed: seconds of a clock that is never set. Raises IdentityError where this machine has not
        joined a fleet, LedgerError where the ledger of what leaves cannot be written.
        """
        self._folder, self._address, self._clock = folder, address, clock
        self._metrics, self._backoff = metrics, backoff
        self._elapsed, self._sleep = elapsed, sleep
        self._renewed_at: float | None = None
        self.identity = self._noted(identities.load(folder))
        self.book = Book(sent_folder(folder.parent), clock.now)

    def connect(self) -> RecordedChannel:
        """Open a channel with the certificate of now."""
        now = self.identity
        address = self._address or now.coordinator
        return site_channel(address, now.channel_credentials(), now.fleet, self.book)

    async def usable(self) -> None:
        """Return when the certificate holds: at once, or after one that ran out has been renewed.

        One that is not valid yet is asked for anew, once: where the other clock is right and this one is
        behind, the coordinator takes what this machine calls too early.
        """
        if self.identity.is_early(self._clock.now()):
            await self._replace_early()
        while self.identity.has_expired(self._clock.now()):
            try:
                await self._by_signature()
            except IdentityError as error:
                log.error("the certificate has run out and is not renewed yet", reason=str(error))
                await self._sleep(self._backoff.delay_s())
                self.reread()
        self._backoff.reset()

    def reread(self) -> bool:
        """Take over an identity that was written by another process; True where there is one."""
        try:
            found = identities.load(self._folder)
        except IdentityError as error:
            log.error("the identity cannot be read", reason=str(error))
            return False
        if found == self.identity:
            return False
        self._noted(found)
        return True

    async def keep(self, link: Link) -> None:
        """Renew whenever it is time, until cancelled; a new channel each time."""
        while True:
            now = self._clock.now()
            early = self.identity.is_early(now)
            left_s = 0.0 if early else self.identity.renew_at - now
            if left_s > 0:
                await self._sleep(min(left_s, _LOOK_EVERY_S))
                continue
            await self._pause()
            try:
                await self._renew(link)
            except (CallFailed, IdentityError) as error:
                log.warning("certificate not renewed yet", reason=str(error))
                await self._sleep(_RETRY_EVERY_S)
            if early:  # and may be so again: a clock that is behind is not set by asking
                await self._sleep(_RETRY_EVERY_S)

    async def _renew(self, link: Link) -> None:
        now = self._clock.now()
        if self.identity.is_early(now) or self.identity.has_expired(now):
            await self.usable()
        else:
            request = identities.request_certificate(self._folder)
            reply = await link.renew(request.der)
            identity = identities.renewed(self.identity, reply, request)
            await asyncio.to_thread(identities.save, self._folder, identity)
            self._took(identity)
        await link.reconnect()
        log.info("certificate renewed", expires_at=self.identity.expires_at)

    async def _replace_early(self) -> None:
        try:
            await self._by_signature()
            self.identity.check_dates(self._clock.now())
        except IdentityError as error:
            log.warning("the certificate is not valid yet by this clock", reason=str(error))

    async def _by_signature(self) -> None:
        """Ask for a certificate where the one that is there opens no connection."""
        await self._pause()
        self._took(await renew_expired(self.identity, self._folder))

    async def _pause(self) -> None:
        """Wait until a certificate may be asked for again."""
        if self._renewed_at is not None:
            left_s = self._renewed_at + LEAST_BETWEEN_S - self._elapsed()
            if left_s > 0:
                await self._sleep(left_s)

    def _took(self, identity: Identity) -> None:
        self._renewed_at = self._elapsed()
        self._noted(identity)

    def _noted(self, identity: Identity) -> Identity:
        self.identity = identity
        self._metrics.expiry.set(identity.expires_at)
        return identity
