"""Small integers as bits: plane by plane, so that numpy moves whole arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError

Bits = npt.NDArray[np.uint8]
"""One bit per element, 0 or 1."""

Integers = npt.NDArray[np.int64]


def planes(values: Integers, widths: npt.NDArray[np.uint8]) -> list[Bits]:
    """Return bit 0 of every value that is wider than 0 bits, then bit 1 of those wider than 1, ..."""
    found: list[Bits] = []
    for bit in range(int(widths.max(initial=0))):
        plane = values[widths > bit] >> bit
        plane &= 1
        found.append(plane.astype(np.uint8))
    return found


class BitReader:
    """A place in a row of bits; every read moves it on."""

    def __init__(self, bits: Bits) -> None:
        """Begin at the first bit."""
        self._bits, self._at = bits, 0

    def take(self, count: int) -> Bits:
        """Return the next `count` bits. Raises UpdateError where there are fewer."""
        taken = self._bits[self._at : self._at + count]
        if taken.size != count:
            raise UpdateError(f"the bits of a packed update end {count - taken.size} too early")
        self._at += count
        return taken

    def planes(self, widths: npt.NDArray[np.uint8]) -> Integers:
        """Return the values that `planes` has written, given their widths."""
        values = np.zeros(widths.size, np.int64)
        for bit in range(int(widths.max(initial=0))):
            wide = np.flatnonzero(widths > bit)
            values[wide] |= self.take(wide.size).astype(np.int64) << bit
        return values

    def finish(self) -> None:
        """Raise UpdateError unless fewer than 16 bits are left and all of them are 0."""
        rest = self._bits[self._at :]
        if rest.size >= 16 or rest.any():
            raise UpdateError(f"a packed update has {rest.size} bits more than its symbols need")
