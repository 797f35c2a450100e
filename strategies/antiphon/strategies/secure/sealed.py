from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from antiphon.core.errors import UpdateError


def seal(key, plain, context, entropy):
    nonce = entropy(12)
    return nonce + AESGCM(key).encrypt(nonce, plain, context)


def open_sealed(key, sealed, context):
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], context)
    except InvalidTag:
        raise UpdateError(
            "a sealed share that cannot be opened: it was made for another session"
        ) from None
