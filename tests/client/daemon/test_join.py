"""Joining a fleet over TLS on the loopback, with and without somebody in between."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from antiphon.client.daemon.identity import identity_folder, load, request_certificate
from antiphon.client.daemon.join import join, renew_expired, split_address, trusted_root
from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.reading import left, lines
from antiphon.core.clock import VirtualClock
from antiphon.core.identity import IdentityError
from antiphon.server.enrolment.authority import create_authority
from antiphon.server.enrolment.failure_limit import FailureLimit
from antiphon.server.enrolment.ledger import Ledger, ledger_file
from antiphon.server.enrolment.registrar import TTL_S, Registrar
from antiphon.server.enrolment.server_certificate import ServerCertificate
from antiphon.server.enrolment.service import EnrolmentService, serve_enrolment
from antiphon.server.enrolment.tokens import new_token, written


class Hub:
    """A coordinator's machine, as far as joining goes."""

    def __init__(self, folder: Path, fleet: str = "ward", ttl_s: float = TTL_S) -> None:
        self.clock, self.ahead_s = VirtualClock(time.time()), 0.0
        self.authority = create_authority(folder, fleet, None, self.clock.now())
        self.ledger = Ledger(ledger_file(folder), new=True)
        self.registrar = Registrar(
            self.authority,
            self.ledger,
            self.now,
            secrets.token_bytes,
            coordinator_port=8470,
            ttl_s=ttl_s,
        )
        self.certificate = ServerCertificate(self.authority, folder, self.clock.now)

    def now(self) -> float:
        """What the coordinator's clock says when it signs for a client: wrong by `ahead_s`."""
        return self.clock.now() + self.ahead_s

    def token(self, name: str = "edge") -> str:
        """Make a token of one use."""
        token = new_token(name, 1, self.clock.now() + 3600, secrets.token_bytes)
        self.ledger.add_token(token)
        return written(token)

    def run(self, scenario):
        """Run a scenario, a function of the address, while the enrolment service runs."""

        async def served():
            service = EnrolmentService(self.registrar, FailureLimit(self.clock.now))
            async with serve_enrolment("127.0.0.1:0", service, self.certificate) as port:
                return await asyncio.wait_for(scenario(f"127.0.0.1:{port}"), 20)

        return asyncio.run(served())


@pytest.fixture
def hub(tmp_path) -> Iterator[Hub]:
    """The coordinator of the fleet `ward`."""
    hub = Hub(tmp_path / "hub")
    yield hub
    hub.ledger.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where the client keeps its identity; nothing is there yet."""
    return identity_folder(tmp_path / "home")


@contextmanager
def listening(certificate: ServerCertificate, root: bytes, folder: Path):
    """Answer TLS connections with another fleet's leaf and this root; give the port and what is sent."""
    keys = certificate.at(time.time())
    leaf = keys.chain.partition(b"-----END CERTIFICATE-----\n")
    (folder / "chain.pem").write_bytes(leaf[0] + leaf[1] + root)
    (folder / "key.pem").write_bytes(keys.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_receive_all, args=(server, context, received))
        thread.start()
        try:
            yield server.getsockname()[1], received
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _receive_all(server, context, received) -> None:
    while True:
        try:
            plain, _ = server.accept()
        except OSError:
            return
        plain.settimeout(5)
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            while content := connection.recv(4096):
                received.extend(content)


def test_join(hub, folder):
    """A token and the pin make a machine the client that the token names, on the disk too."""
    token = hub.token("edge")

    identity = hub.run(lambda address: join(address, token, hub.authority.pin, folder))

    assert (identity.client, identity.fleet, identity.coordinator) == (
        "edge",
        "ward",
        "127.0.0.1:8470",
    )
    assert load(folder) == identity


def test_somebody_in_between(hub, folder, tmp_path):
    """Who shows another root than the pin's is sent nothing at all."""
    other = Hub(tmp_path / "other")
    root = other.authority.root.public_bytes(Encoding.PEM)

    with (
        listening(other.certificate, root, tmp_path) as (port, received),
        pytest.raises(IdentityError, match="token was not sent"),
    ):
        asyncio.run(join(f"127.0.0.1:{port}", hub.token(), hub.authority.pin, folder))

    other.ledger.close()
    assert bytes(received) == b""


def test_somebody_in_between_with_our_root(hub, folder, tmp_path):
    """Who shows the right root behind a leaf of another is sent nothing either."""
    other = Hub(tmp_path / "other")
    root = hub.authority.root.public_bytes(Encoding.PEM)

    with (
        listening(other.certificate, root, tmp_path) as (port, received),
        pytest.raises(IdentityError, match="cannot reach"),
    ):
        asyncio.run(join(f"127.0.0.1:{port}", hub.token(), hub.authority.pin, folder, timeout_s=5))

    other.ledger.close()
    assert bytes(received) == b""


def test_what_the_listener_hears(hub, folder, tmp_path):
    """The listener of the two tests above does hear a token that is sent to it."""
    other, token = Hub(tmp_path / "other"), hub.token()
    pin = other.authority.pin
    root = other.authority.root.public_bytes(Encoding.PEM)

    with (
        listening(other.certificate, root, tmp_path) as (port, received),
        pytest.raises(IdentityError),
    ):
        asyncio.run(join(f"127.0.0.1:{port}", token, pin, folder, timeout_s=0.5))

    other.ledger.close()
    assert bytes(received).startswith(b"PRI * HTTP/2.0")


@pytest.mark.parametrize("fleet", ["a_b", "0", "a" * 64, "a-"])
def test_every_fleets_name_works(tmp_path, folder, fleet):
    """Whatever a fleet may be called, TLS accepts its coordinator's name."""
    hub = Hub(tmp_path / "hub", fleet)
    token = hub.token()

    identity = hub.run(lambda address: join(address, token, hub.authority.pin, folder))

    hub.ledger.close()
    assert identity.fleet == fleet


def test_joining_and_renewing_are_noted(hub, folder):
    """What leaves for the enrolment service is in the ledger of the site, with its answer."""
    token = hub.token()

    async def scenario(address):
        await renew_expired(await join(address, token, hub.authority.pin, folder), folder)

    hub.run(scenario)

    noted = left(lines(sent_folder(folder.parent)))
    assert [(each.what.method, each.verdict) for each in noted] == [
        ("Enrol", "answered"),
        ("Challenge", "answered"),
        ("RenewExpired", "answered"),
    ]


def test_lost_reply(hub, folder):
    """Where the answer was lost, joining again with the same token goes on."""
    token = hub.token()
    lost = hub.registrar.enrol(token, request_certificate(folder).der)

    identity = hub.run(lambda address: join(address, token, hub.authority.pin, folder))

    assert identity.leaf.public_bytes(Encoding.DER) == lost.certificate


def test_used_token(hub, folder, tmp_path):
    """A token that somebody has used is refused with what to do."""
    token = hub.token()
    hub.registrar.enrol(token, request_certificate(tmp_path / "somebody").der)

    with pytest.raises(IdentityError, match="ask for a new one"):
        hub.run(lambda address: join(address, token, hub.authority.pin, folder))


def test_twice(hub, folder):
    """A machine that is a client stays the one that it is, unless told otherwise."""
    tokens = [hub.token("first"), hub.token("second")]
    pin = hub.authority.pin

    async def scenario(address):
        await join(address, tokens[0], pin, folder)
        with pytest.raises(IdentityError, match="client first of the fleet ward already"):
            await join(address, tokens[1], pin, folder)
        return await join(address, tokens[1], pin, folder, force=True)

    assert hub.run(scenario).client == "second"


def test_root_from_a_file(hub, folder, tmp_path):
    """The root's file serves in place of the pin."""
    file = tmp_path / "root.pem"
    file.write_bytes(hub.authority.root.public_bytes(Encoding.PEM))
    token = hub.token()

    assert hub.run(lambda address: join(address, token, str(file), folder)).client == "edge"


def test_renewing_after_the_end(hub, folder):
    """A client that was away too long gets a new certificate with its old key."""
    token = hub.token()

    async def scenario(address):
        old = await join(address, token, hub.authority.pin, folder)
        hub.clock.advance_to(hub.clock.now() + 5 * 86_400)
        return old, await renew_expired(old, folder)

    old, new = hub.run(scenario)

    assert new.client == "edge"
    assert new.expires_at > old.expires_at
    assert load(folder) == new


def test_renewing_when_revoked(hub, folder):
    """A client that was revoked meanwhile is told so, and keeps its old identity."""
    token = hub.token()

    async def scenario(address):
        old = await join(address, token, hub.authority.pin, folder)
        hub.ledger.revoke("edge", hub.clock.now())
        with pytest.raises(IdentityError, match="edge is revoked"):
            await renew_expired(old, folder)
        return old

    assert hub.run(scenario) == load(folder)


def test_nobody_there(folder):
    """Where nothing answers, the address is named."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(IdentityError, match=f"127.0.0.1:{port}"):
        trusted_root("127.0.0.1", port, "sha256:" + "0" * 64, 5)


@pytest.mark.parametrize("ca", ["sha256:12", "sha256:" + "g" * 64, "/no/such/file", ""])
def test_no_pin(ca):
    """What is neither a pin nor a root's file is said to be neither."""
    with pytest.raises(IdentityError, match="sha256:"):
        trusted_root("127.0.0.1", 1, ca)


@pytest.mark.parametrize(
    ("address", "parts"), [("hub:8471", ("hub", 8471)), ("[::1]:1", ("::1", 1))]
)
def test_addresses(address, parts):
    """HOST:PORT is read, with an IPv6 host in brackets."""
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["hub", ":1", "hub:", "hub:x", "hub:0", "hub:65536"])
def test_bad_addresses(address):
    """Anything else is refused before anything is sent."""
    with pytest.raises(IdentityError, match="HOST:PORT"):
        split_address(address)
