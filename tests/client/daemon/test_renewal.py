"""A certificate that ran out while the machine was away is renewed before the first call."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.client.daemon.test_join import Hub

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.identity import identity_folder, load
from antiphon.client.daemon.join import join
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.renewal import LEAST_BETWEEN_S, Renewal
from antiphon.core.clock import VirtualClock
from antiphon.core.identity import IdentityError
from antiphon.server.enrolment.tokens import new_token, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the client keeps its identity."""
    return identity_folder(tmp_path / "home")


def renewal(folder: Path, hub: Hub, clock: VirtualClock | None = None) -> Renewal:
    """A client's renewal, on the hub's clock or on its own."""
    return Renewal(folder, None, clock or hub.clock, Metrics(), Backoff(Random(0), base_s=0.02))


def test_certificate_that_ran_out_is_renewed_first(tmp_path: Path, folder: Path) -> None:
    """After five days away the certificate is renewed, saved, and holds."""
    hub = Hub(tmp_path / "hub")

    async def scenario(address: str) -> Renewal:
        await join(address, hub.token(), hub.authority.pin, folder)
        hub.clock.advance_to(hub.clock.now() + 5 * 86_400)
        waking = renewal(folder, hub)
        await waking.usable()
        return waking

    waking = hub.run(scenario)
    hub.ledger.close()

    assert not waking.identity.has_expired(hub.clock.now())
    assert load(folder) == waking.identity


def test_identity_of_another_process_is_taken_over(tmp_path: Path, folder: Path) -> None:
    """A client that was revoked goes on when somebody joins the machine again meanwhile."""
    hub = Hub(tmp_path / "hub")

    async def scenario(address: str) -> tuple[str, str]:
        old = await join(address, hub.token(), hub.authority.pin, folder)
        hub.clock.advance_to(hub.clock.now() + 5 * 86_400)
        hub.ledger.revoke("edge", hub.clock.now())
        waking = renewal(folder, hub)
        waiting = asyncio.create_task(waking.usable())
        await asyncio.wait([waiting], timeout=0.2)
        token = new_token("edge", 1, hub.clock.now() + 3600, secrets.token_bytes)
        hub.ledger.add_token(token)
        await join(address, written(token), hub.authority.pin, folder, force=True)
        await waiting
        return old.certificate, waking.identity.certificate

    before, after = hub.run(scenario)
    hub.ledger.close()

    assert before != after


def test_machine_that_has_not_joined(tmp_path: Path, folder: Path) -> None:
    """Without an identity there is nothing to renew, and the error says what to do."""
    hub = Hub(tmp_path / "hub")

    with pytest.raises(IdentityError, match="has not joined a fleet"):
        renewal(folder, hub)
    hub.ledger.close()


def test_certificate_that_is_not_valid_yet_is_replaced(tmp_path: Path, folder: Path) -> None:
    """What a coordinator signed while its clock was ahead is exchanged once the clock is mended."""
    hub = Hub(tmp_path / "hub")
    hub.ahead_s = 3000.0

    async def scenario(address: str) -> tuple[bool, Renewal]:
        await join(address, hub.token(), hub.authority.pin, folder)
        waking = renewal(folder, hub)
        before, hub.ahead_s = waking.identity.is_early(hub.clock.now()), 0.0
        await waking.usable()
        return before, waking

    early, waking = hub.run(scenario)
    hub.ledger.close()

    assert early
    waking.identity.check_dates(hub.clock.now())
    assert load(folder) == waking.identity


def test_client_whose_clock_is_behind_goes_on(tmp_path: Path, folder: Path) -> None:
    """A new certificate that is early too is taken: the coordinator's clock decides, not this one."""
    hub = Hub(tmp_path / "hub")
    behind = VirtualClock(hub.clock.now() - 3600.0)

    async def scenario(address: str) -> tuple[str, str]:
        old = await join(address, hub.token(), hub.authority.pin, folder)
        waking = renewal(folder, hub, behind)
        await waking.usable()
        return old.certificate, waking.identity.certificate

    before, after = hub.run(scenario)
    hub.ledger.close()

    assert before != after


class Asked:
    """A line to a coordinator, and a sleep that moves its clock: when certificates were asked for."""

    def __init__(self, hub: Hub, most_s: float) -> None:
        """Time ends after `most_s`."""
        self.hub, self._until = hub, hub.clock.now() + most_s
        self.times: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.hub.clock.advance_to(self.hub.clock.now() + seconds)
        if self.hub.clock.now() > self._until:
            raise asyncio.CancelledError

    async def renew(self, request: bytes) -> Any:
        """Give a certificate."""
        self.times.append(self.hub.clock.now())
        return self.hub.registrar.renew("edge", request)

    async def reconnect(self) -> None:
        """Use it."""


def test_short_certificates_do_not_make_a_client_spin(tmp_path: Path, folder: Path) -> None:
    """Given certificates that are due for renewal at once, a client asks three times a minute at most."""
    hub = Hub(tmp_path / "hub", ttl_s=LEAST_BETWEEN_S + 2)
    asked: Any = Asked(hub, most_s=300.0)

    async def scenario(address: str) -> None:
        await join(address, hub.token(), hub.authority.pin, folder)
        kept = Renewal(
            folder, None, hub.clock, Metrics(), Backoff(Random(0)),
            elapsed=hub.clock.now, sleep=asked.sleep,
        )  # fmt: skip
        with suppress(asyncio.CancelledError):
            await kept.keep(asked)

    hub.run(scenario)
    hub.ledger.close()

    assert len(asked.times) > 10
    assert min(b - a for a, b in pairwise(asked.times)) >= LEAST_BETWEEN_S
