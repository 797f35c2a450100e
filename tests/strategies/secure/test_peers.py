"""Whose keys are masked with: signed for one round, by a client of this fleet, and nobody else's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from antiphon.core.errors import UpdateError
from antiphon.core.identity import client_uri, fleet_uri
from antiphon.strategies.secure.peers import (
    SignedKeys,
    check_peer,
    delegated,
    delegation_text,
    signed,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RUN, ROUND, ADA = "a-run", 3, "ada"
MASK, SEAL = b"m" * 32, b"s" * 32


def certificate(
    uri: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, uri)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(hours=23))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
        )
        .sign(by, hashes.SHA256())
    )


class Fleet:
    """A root and the certificates that it signs."""

    def __init__(self, name: str = "fleet") -> None:
        self.name, self.key = name, ec.generate_private_key(ec.SECP256R1())
        uri = fleet_uri(name)
        self.root = certificate(uri, self.key, uri, self.key)

    def keys(self, client: str = ADA, run: str = RUN, number: int = ROUND) -> SignedKeys:
        """Return keys as this client's trainer signs them."""
        own, delegate = (
            ec.generate_private_key(ec.SECP256R1()),
            ed25519.Ed25519PrivateKey.generate(),
        )
        leaf = certificate(client_uri(self.name, client), own, fleet_uri(self.name), self.key)
        text = delegation_text(run, number, client, delegate.public_key().public_bytes_raw())
        return signed(
            run=run,
            number=number,
            client=client,
            mask=MASK,
            seal=SEAL,
            key=delegate.private_bytes_raw(),
            certificate=leaf.public_bytes(Encoding.DER),
            delegation=delegated(own, text),
        )


def check(keys: SignedKeys, fleet: Fleet, client: str = ADA, now: datetime = NOW) -> None:
    check_peer(keys, run=RUN, number=ROUND, client=client, roots=[fleet.root], now=now)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """A fleet."""
    return Fleet()


def test_keys_that_a_client_has_signed_are_taken(fleet: Fleet) -> None:
    """For this run, this round and this client."""
    check(fleet.keys(), fleet)


def test_keys_of_another_fleet_are_refused(fleet: Fleet) -> None:
    """Also of one with the same name."""
    with pytest.raises(UpdateError, match="no certificate of this fleet"):
        check(Fleet().keys(), fleet)


def test_keys_of_another_client_are_refused(fleet: Fleet) -> None:
    """A member cannot stand in for another."""
    with pytest.raises(UpdateError, match="no certificate of this fleet"):
        check(fleet.keys("bea"), fleet)


@pytest.mark.parametrize("hours", [-2, 24])
def test_keys_under_a_certificate_that_does_not_hold_are_refused(fleet: Fleet, hours: int) -> None:
    """Before its time and after it."""
    with pytest.raises(UpdateError, match="not valid now"):
        check(fleet.keys(), fleet, now=NOW + timedelta(hours=hours))


@pytest.mark.parametrize("made", [{"run": "another"}, {"number": 4}])
def test_keys_of_another_round_are_refused(fleet: Fleet, made: dict[str, object]) -> None:
    """What was signed once cannot be shown again."""
    with pytest.raises(UpdateError, match="not signed by it for round 3"):
        check(fleet.keys(**made), fleet)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "part", ["mask", "seal", "delegate", "delegation", "signature", "certificate"]
)
def test_nothing_of_them_can_be_changed(fleet: Fleet, part: str) -> None:
    """One bit of any part, and they are nobody's."""
    keys = fleet.keys()
    content = bytearray(getattr(keys, part))
    content[len(content) // 2] ^= 1

    with pytest.raises(UpdateError):
        check(replace(keys, **{part: bytes(content)}), fleet)
