"""Whose keys a client masks with: signed by who has a certificate of the fleet, for one round of one run.

A trainer signs, with a key of its own (Ed25519) that the site's certificate has let speak for the site in
that round: the site's key stays with the daemon. Peers look at both signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from antiphon.core.errors import UpdateError
from antiphon.core.identity import (
    IdentityError,
    Subject,
    caller_of,
    fleet_of,
    is_issued_by,
    key_of,
    read_certificate,
)

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class SignedKeys:
    """A client's two public keys of a round, and what shows that they are its.

    mask, seal: X25519, 32 bytes; certificate: DER; delegate: Ed25519, 32 bytes; delegation: signature of
    the certificate's key over `delegation_text`; signature: of the delegate over `keys_text`.
    """

    mask: bytes
    seal: bytes
    certificate: bytes
    delegate: bytes
    delegation: bytes
    signature: bytes


def delegation_text(run: str, number: int, client: str, delegate: bytes) -> bytes:
    """Return what a certificate's key signs: that the delegate speaks for the client in this round."""
    return _spelled(b"antiphon round delegate v1", run, number, client, delegate)


def keys_text(run: str, number: int, client: str, mask: bytes, seal: bytes) -> bytes:
    """Return what the delegate signs: that these are the client's keys of this round."""
    return _spelled(b"antiphon round keys v1", run, number, client, mask, seal)


def delegated(key: PrivateKey, text: bytes) -> bytes:
    """Return a certificate's key's signature over a `delegation_text`."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(text)
    return key.sign(text, ec.ECDSA(hashes.SHA256()))


def signed(
    *,
    run: str,
    number: int,
    client: str,
    mask: bytes,
    seal: bytes,
    key: bytes,
    certificate: bytes,
    delegation: bytes,
) -> SignedKeys:
    """Return the keys with their signature. key: the delegate's own, 32 bytes."""
    delegate = ed25519.Ed25519PrivateKey.from_private_bytes(key)
    return SignedKeys(
        mask,
        seal,
        certificate,
        delegate.public_key().public_bytes_raw(),
        delegation,
        delegate.sign(keys_text(run, number, client, mask, seal)),
    )


def check_peer(
    keys: SignedKeys,
    *,
    run: str,
    number: int,
    client: str,
    roots: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    """Raise UpdateError where keys are not those of this client of the fleet, for this very round."""
    leaf = _leaf(keys.certificate, client, roots, now)
    try:
        text = delegation_text(run, number, client, keys.delegate)
        _verify(leaf, keys.delegation, text)
        delegate = ed25519.Ed25519PublicKey.from_public_bytes(keys.delegate)
        delegate.verify(keys.signature, keys_text(run, number, client, keys.mask, keys.seal))
    except (InvalidSignature, ValueError, IdentityError):
        raise UpdateError(
            f"the keys shown as those of {client} are not signed by it for round {number} of run {run}"
        ) from None


def _leaf(
    der: bytes, client: str, roots: Sequence[x509.Certificate], now: datetime
) -> x509.Certificate:
    try:
        leaf = read_certificate(der)
        root = next((each for each in roots if is_issued_by(leaf, each)), None)
        if root is None or caller_of(leaf) != Subject(fleet_of(root), "client", client):
            raise UpdateError(f"the keys of {client} come with no certificate of this fleet for it")
    except IdentityError as error:
        raise UpdateError(f"the certificate of {client}: {error}") from None
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise UpdateError(
            f"the certificate of {client} is not valid now: it has run out, or a clock is wrong"
        )
    return leaf


def _verify(leaf: x509.Certificate, signature: bytes, text: bytes) -> None:
    key = key_of(leaf)
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, text)
    else:
        raise IdentityError("a certificate whose key is of an unknown kind")


def _spelled(label: bytes, run: str, number: int, client: str, *parts: bytes) -> bytes:
    """Return texts and bytes so that no two lists of them look alike."""
    every = (label, run.encode(), str(number).encode(), client.encode(), *parts)
    return b"".join(len(each).to_bytes(4, "big") + each for each in every)
