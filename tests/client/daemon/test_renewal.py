"""A certificate that ran out while the machine was away is renewed before the first call."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from random import Random

import pytest
from tests.client.daemon.test_join import Hub

from antiphon.client.daemon.backoff import Backoff
from antiphon.client.daemon.identity import identity_folder, load
from antiphon.client.daemon.join import join
from antiphon.client.daemon.metrics import Metrics
from antiphon.client.daemon.renewal import Renewal
from antiphon.core.identity import IdentityError
from antiphon.server.enrolment.tokens import new_token, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the client keeps its identity."""
    return identity_folder(tmp_path / "home")


def renewal(folder: Path, hub: Hub) -> Renewal:
    """A client's renewal, on the hub's clock."""
    return Renewal(folder, None, hub.clock, Metrics(), Backoff(Random(0), base_s=0.02))


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
