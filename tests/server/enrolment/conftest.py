"""A fleet with real certificates and a real ledger, in a folder of the test's own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from antiphon.core.clock import VirtualClock
from antiphon.server.enrolment.authority import Authority, create_authority
from antiphon.server.enrolment.ledger import Ledger, ledger_file
from antiphon.server.enrolment.registrar import Registrar
from antiphon.server.enrolment.server_certificate import ServerCertificate
from antiphon.server.enrolment.tokens import new_token, written

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Fleet:
    """All that one fleet has at the coordinator. clock: begins now, TLS looks at the real one."""

    authority: Authority
    ledger: Ledger
    registrar: Registrar
    certificate: ServerCertificate
    clock: VirtualClock

    def token(self, name: str = "edge", uses: int = 1, ttl_s: float = 3600.0) -> str:
        """Make a token, as it is handed out."""
        token = new_token(name, uses, self.clock.now() + ttl_s, secrets.token_bytes)
        self.ledger.add_token(token)
        return written(token)

    def request(self, key: Key | None = None, name: str = "anybody") -> bytes:
        """Make a certificate request."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    def enrolled(self, name: str) -> tuple[x509.Certificate, Key]:
        """Let a client in; return its certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        reply = self.registrar.enrol(self.token(name), self.request(key))
        return x509.load_der_x509_certificate(reply.certificate), key

    def shown(self, leaf: x509.Certificate, key: Key) -> grpc.ChannelCredentials:
        """Return what a channel of this client shows; it trusts this fleet."""
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        root = self.authority.root.public_bytes(Encoding.PEM)
        return grpc.ssl_channel_credentials(root, private, leaf.public_bytes(Encoding.PEM))


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[Callable[[str], Fleet]]:
    """Make a fleet by name."""
    fleets: list[Fleet] = []

    def make(name: str) -> Fleet:
        folder, clock = tmp_path / name, VirtualClock(time.time())
        authority = create_authority(folder, name, None, clock.now())
        ledger = Ledger(ledger_file(folder), new=True)
        registrar = Registrar(
            authority, ledger, clock.now, secrets.token_bytes, coordinator_port=8470
        )
        certificate = ServerCertificate(authority, folder, clock.now)
        fleets.append(Fleet(authority, ledger, registrar, certificate, clock))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.ledger.close()


@pytest.fixture
def fleet(make_fleet: Callable[[str], Fleet]) -> Fleet:
    """The fleet called `ward`."""
    return make_fleet("ward")


@pytest.fixture(scope="session")
def fleet_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The root of a fleet called `ward`, for tests that only sign."""
    return create_authority(tmp_path_factory.mktemp("fleet") / "ward", "ward", None, time.time())
