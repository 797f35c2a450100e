"""Whole numbers in as many bits as they need, one behind the other."""

from __future__ import annotations

import numpy as np

from antiphon.core.errors import UpdateError


def packed_bytes(count: int, bits: int) -> int:
    """Return how many bytes so many numbers take."""
    return -(-count * bits // 8)


def pack(values, bits):
    wide = np.ascontiguousarray(values, dtype=">u8").view(np.uint8).reshape(-1, 8)
    return np.packbits(np.unpackbits(wide, axis=1)[:, 64 - bits :].reshape(-1))


def unpack(content, count, bits):
    if content.shape != (packed_bytes(count, bits),):
        raise UpdateError(f"{content.size} bytes, expected {packed_bytes(count, bits)}")
    said = np.unpackbits(content)
    if said[count * bits :].any():
        raise UpdateError("bits behind the last number")
    said = said[: count * bits].reshape(count, bits)
    wide = np.zeros((count, 64), np.uint8)
    wide[:, 64 - bits :] = said
    return (
        np.packbits(wide, axis=1)
        .view(">u8")
        .reshape(-1)
        .astype(np.uint64 if bits > 32 else np.uint32)
    )
