"""Clients of a fleet that never was, each with a certificate, and its voice in one round."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from tests.client.secure.cohort import RUN

from antiphon.client.exchanges.exchange import AtSite
from antiphon.client.secure.signer import Signer
from antiphon.core.identity import client_uri, fleet_uri
from antiphon.strategies.secure.peers import delegated, delegation_text

_FLEET = "fleet"


class Signers:
    """Clients of a fleet that never was, each with a certificate."""

    def __init__(self) -> None:
        """Make a root."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._root = self._certificate(fleet_uri(_FLEET), self._key)

    def site(self, client: str) -> AtSite:
        """Return what holds at a client's site."""
        own, delegate = (
            ec.generate_private_key(ec.SECP256R1()),
            ed25519.Ed25519PrivateKey.generate(),
        )
        said = delegation_text(RUN, 1, client, delegate.public_key().public_bytes_raw())
        leaf = self._certificate(client_uri(_FLEET, client), own).public_bytes(Encoding.DER)
        signer = Signer(
            delegate.private_bytes_raw(), leaf, delegated(own, said), [self._root], _now
        )
        return AtSite(RUN, signer=signer)

    def _certificate(self, uri: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        root = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _FLEET)])
        named = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        return (
            x509.CertificateBuilder()
            .subject_name(root)
            .issuer_name(root)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - timedelta(hours=1))
            .not_valid_after(_now() + timedelta(hours=23))
            .add_extension(named, critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _now() -> datetime:
    return datetime.now(UTC)
