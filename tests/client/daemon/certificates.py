"""Throw-away certificates: a root, a coordinator's leaf and a client's, made in a millisecond."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from antiphon.client.sent.book import Book
from antiphon.client.sent.recorded import RecordedChannel, site_channel
from antiphon.core.channel import coordinator_name

FLEET = "acme"
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Leaf:
    """A key and a certificate, PEM."""

    key: bytes
    certificate: bytes


class Authority:
    """The root of a fleet that lasts as long as a test."""

    def __init__(self) -> None:
        """Make a root."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("root")
        self._root = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._root.public_bytes(Encoding.PEM)

    def leaf(self, uri: str, *, server: bool, life_s: float = 3600.0) -> Leaf:
        """Make a leaf; `uri` is its spiffe:// name."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = self.signed(key.public_key(), uri, usage, server=server, life_s=life_s)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Leaf(pem, certificate.public_bytes(Encoding.PEM))

    def signed(
        self,
        key: ec.EllipticCurvePublicKey,
        uri: str,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        *,
        server: bool = False,
        life_s: float = 3600.0,
    ) -> x509.Certificate:
        """Certify a public key."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        if server:
            names.append(x509.DNSName(coordinator_name(FLEET)))
        return (
            _builder(_named("leaf"), self._name, key, life_s)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def client(self, name: str = "edge") -> Leaf:
        """Make a client's leaf."""
        return self.leaf(f"spiffe://{FLEET}/client/{name}", server=False)

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a coordinator listens with: mutual TLS."""
        leaf = self.leaf(f"spiffe://{FLEET}/coordinator", server=True)
        pair = (leaf.key, leaf.certificate)
        return grpc.ssl_server_credentials([pair], self.pem, require_client_auth=True)

    def channel(self, address: str, leaf: Leaf, book: Book) -> RecordedChannel:
        """Open a client's channel."""
        credentials = grpc.ssl_channel_credentials(self.pem, leaf.key, leaf.certificate)
        return site_channel(address, credentials, FLEET, book)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    life_s: float = 3600.0,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(seconds=life_s))
    )
