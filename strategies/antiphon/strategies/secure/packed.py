"""Whole numbers in as many bits as they need, one behind the other."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError

_NARROW: Final = 32  # bits of a number that four bytes hold


def packed_bytes(count: int, bits: int) -> int:
    """Return how many bytes `count` numbers of so many bits take."""
    return -(-count * bits // 8)


def pack(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Return numbers below 2^bits, (n,), as bytes: highest bits first, zeros behind the last one."""
    width = 4 if bits <= _NARROW else 8
    octets = values.astype(f">u{width}").view(np.uint8).reshape(-1, width)
    return np.packbits(np.unpackbits(octets, axis=1)[:, 8 * width - bits :].reshape(-1))


def unpack(content: npt.NDArray[np.uint8], count: int, bits: int) -> npt.NDArray[Any]:
    """Return the numbers, uint32 (count,), or uint64 for more than 32 bits.

    Raises UpdateError for bytes of another length, and where something stands behind the last number.
    """
    if content.shape != (packed_bytes(count, bits),):
        raise UpdateError(
            f"{content.size} bytes, expected {packed_bytes(count, bits)}: {count} numbers of {bits} bits"
        )
    said = np.unpackbits(content)
    if said[count * bits :].any():
        raise UpdateError("a packed vector has bits behind its last number")
    width = 4 if bits <= _NARROW else 8
    wide = np.zeros((count, 8 * width), np.uint8)
    wide[:, 8 * width - bits :] = said[: count * bits].reshape(count, bits)
    numbers = np.packbits(wide, axis=1).view(f">u{width}").reshape(-1)
    return numbers.astype(f"=u{width}")
