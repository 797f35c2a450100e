"""A certificate is exchanged for a new one long before it runs out, with a new key each time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import structlog

from antiphon.client.daemon import identity as identities
from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.calls import CallFailed
from antiphon.client.daemon.identity import Identity
from antiphon.client.daemon.join import renew_expired
from antiphon.client.daemon.link import Link
from antiphon.client.daemon.metrics import Metrics
from antiphon.core.channel import secure_channel
from antiphon.core.clock import Clock
from antiphon.core.identity import IdentityError

log = structlog.get_logger()

_LOOK_EVERY_S = 600.0  # a machine that slept, or whose clock was set, must not miss its day
_RETRY_EVERY_S = 60.0


class Renewal:
    """The identity of now, and what keeps it valid."""

    def __init__(
        self, folder: Path, address: str | None, clock: Clock, metrics: Metrics, backoff: Backoff
    ) -> None:
        """folder: of the identity; address: of the coordinator, if not the one in the identity.

        Raises IdentityError where this machine has not joined a fleet.
        """
        self._folder, self._address, self._clock = folder, address, clock
        self._metrics, self._backoff = metrics, backoff
        self.identity = self._noted(identities.load(folder))

    def connect(self) -> grpc.aio.Channel:
        """Open a channel with the certificate of now."""
        now = self.identity
        address = self._address or now.coordinator
        return secure_channel(address, now.channel_credentials(), now.fleet)

    async def usable(self) -> None:
        """Return when the certificate holds: at once, or after one that ran out has been renewed."""
        while self.identity.has_expired(self._clock.now()):
            try:
                self._noted(await renew_expired(self.identity, self._folder))
            except IdentityError as error:
                log.error("the certificate has run out and is not renewed yet", reason=str(error))
                await asyncio.sleep(self._backoff.delay_s())
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
            left_s = self.identity.renew_at - self._clock.now()
            if left_s > 0:
                await asyncio.sleep(min(left_s, _LOOK_EVERY_S))
                continue
            try:
                await self._renew(link)
            except (CallFailed, IdentityError) as error:
                log.warning("certificate not renewed yet", reason=str(error))
                await asyncio.sleep(_RETRY_EVERY_S)

    async def _renew(self, link: Link) -> None:
        if self.identity.has_expired(self._clock.now()):
            await self.usable()
        else:
            request = identities.request_certificate(self._folder)
            reply = await link.renew(request.der)
            identity = identities.renewed(self.identity, reply, request)
            await asyncio.to_thread(identities.save, self._folder, identity)
            self._noted(identity)
        await link.reconnect()
        log.info("certificate renewed", expires_at=self.identity.expires_at)

    def _noted(self, identity: Identity) -> Identity:
        self.identity = identity
        self._metrics.expiry.set(identity.expires_at)
        return identity
