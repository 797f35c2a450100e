"""What one client seals for another, through a coordinator that must not read it: AES-256-GCM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from antiphon.core.errors import UpdateError

_NONCE_BYTES: Final = 12


def seal(key: bytes, plain: bytes, context: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """Return what only a holder of the key can open, and only for the same context."""
    nonce = entropy(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def open_sealed(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Return what was sealed. Raises UpdateError where it was changed, or sealed for something else."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise UpdateError(
            "what another client has sealed cannot be opened: it was changed on its way, or the two were "
            "shown different members"
        ) from None
