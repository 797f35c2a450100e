"""With what a trainer speaks for its site among the other clients of a round: never the site's own key."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ed25519

from antiphon.client.daemon.identity import Identity
from antiphon.strategies.secure.peers import delegated, delegation_text


def voice(identity: Identity, run: str, number: int) -> Mapping[str, str]:
    """Return a new key that the site's certificate lets speak in one round of a run: see Respond."""
    key = ed25519.Ed25519PrivateKey.generate()
    said = delegation_text(run, number, identity.client, key.public_key().public_bytes_raw())
    return {
        "key": _spelled(key.private_bytes_raw()),
        "delegation": _spelled(delegated(identity.private_key(), said)),
        "certificate": identity.certificate,
        "roots": identity.roots,
    }


def _spelled(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
