"""Masks: pseudo-random vectors that two clients, or a client and whoever learns its seed, can both make.

A pair agrees on a key by X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869); a mask is the key stream of
AES-256 in counter mode under it, read as words of 32 or 64 bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from antiphon.core.errors import UpdateError

_KEY_BYTES: Final = 32
_CHUNK_BYTES: Final = 1 << 18
_WIDE: Final = 32  # bits above which a word has 64


def public_of(private: bytes) -> bytes:
    """Return the public key of a private one; both X25519, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes, info: bytes) -> bytes:
    """Return the 32 bytes that the holders of two keys have in common. info: what they are for.

    Raises UpdateError for a public key with which nobody can agree on anything secret.
    """
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:
        raise UpdateError(f"a public key that is none: {error}") from None
    return HKDF(hashes.SHA256(), _KEY_BYTES, None, info).derive(shared)


def add_mask(total: npt.NDArray[Any], seed: bytes, bits: int, *, sign: int) -> None:
    """Add (sign 1) or subtract (−1) the mask of a seed, in place, modulo 2^bits.

    total: uint32 for up to 32 bits, else uint64. The same key stream is never used for two vectors: seeds
    are of one round.
    """
    word = np.dtype("<u8" if bits > _WIDE else "<u4")
    stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()
    zeros, made = bytes(_CHUNK_BYTES), bytearray(_CHUNK_BYTES)
    top, each = total.dtype.type((1 << bits) - 1), _CHUNK_BYTES // word.itemsize
    for begin in range(0, len(total), each):
        part = total[begin : begin + each]
        size = len(part) * word.itemsize
        stream.update_into(memoryview(zeros)[:size], made)
        mask = np.frombuffer(made, word, len(part))
        if sign > 0:
            np.add(part, mask, out=part)
        else:
            np.subtract(part, mask, out=part)
        part &= top
