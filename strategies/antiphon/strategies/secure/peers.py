from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from antiphon.core.errors import UpdateError
from antiphon.core.identity import (
    Subject,
    caller_of,
    fleet_of,
    is_issued_by,
    key_of,
    read_certificate,
)


@dataclass(frozen=True)
class SignedKeys:
    mask: bytes
    seal: bytes
    certificate: bytes
    delegate: bytes
    delegation: bytes
    signature: bytes


def _sp(*parts):
    return b"".join(len(p).to_bytes(4, "big") + p for p in parts)


def delegation_text(run, round, client, delegate):
    return b"antiphon delegate v1" + _sp(
        run.encode(), str(round).encode(), client.encode(), delegate
    )


def keys_text(run, round, client, mask, seal):
    return b"antiphon keys v1" + _sp(run.encode(), str(round).encode(), client.encode(), mask, seal)


def signed(*, run, round, client, mask, seal, key, certificate, delegation):
    k = ed25519.Ed25519PrivateKey.from_private_bytes(key)
    return SignedKeys(
        mask,
        seal,
        certificate,
        k.public_key().public_bytes_raw(),
        delegation,
        k.sign(keys_text(run, round, client, mask, seal)),
    )


def check_peer(keys, *, run, round, client, roots, now):
    leaf = read_certificate(keys.certificate)
    root = next((r for r in roots if is_issued_by(leaf, r)), None)
    if root is None:
        raise UpdateError(f"{client}: not of the fleet")
    if caller_of(leaf) != Subject(fleet_of(root), "client", client):
        raise UpdateError("other client")
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise UpdateError("expired")
    try:
        key_of(leaf).verify(
            keys.delegation,
            delegation_text(run, round, client, keys.delegate),
            ec.ECDSA(hashes.SHA256()),
        )
        ed25519.Ed25519PublicKey.from_public_bytes(keys.delegate).verify(
            keys.signature, keys_text(run, round, client, keys.mask, keys.seal)
        )
    except InvalidSignature:
        raise UpdateError("bad signature") from None
