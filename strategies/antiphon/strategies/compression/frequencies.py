"""The static symbol model of a message: how often each class occurs, of 2¹⁴.

1 B shift · 1 B number of classes · each frequency in 1 byte below 128, else in 2 (15 bits, the top
bit of the first byte set)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.strategies.compression import classes
from antiphon.strategies.compression.bits import Integers

TOTAL_BITS = 14
TOTAL = 1 << TOTAL_BITS


@dataclass(frozen=True)
class Frequencies:
    """shift: raw bits below every class; of: int64 (classes,), summing to 2¹⁴, or empty."""

    shift: int
    of: Integers

    @property
    def starts(self) -> Integers:
        """Return where each class's interval of 2¹⁴ begins."""
        begins: Integers = np.cumsum(self.of) - self.of
        return begins

    def bits(self, counts: Integers) -> float:
        """Return the bits that symbols with these counts take under this model, raw bits included."""
        used = np.flatnonzero(counts)
        coded = TOTAL_BITS - np.log2(self.of[used])
        return float(counts[used] @ (coded + classes.WIDTHS[used] + self.shift))


def measured(counts: Integers, shift: int) -> Frequencies:
    """Scale counts to 2¹⁴; every class that occurs gets 1 at least, the commonest takes the rest."""
    length = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    counts = counts[:length]
    of = np.where(counts > 0, np.maximum(counts * TOTAL // max(int(counts.sum()), 1), 1), 0)
    if length:
        of[np.argmax(of)] += TOTAL - of.sum()
    return Frequencies(shift, of)


def write(model: Frequencies) -> bytes:
    """Return the model's bytes."""
    packed = bytearray([model.shift, model.of.size])
    for frequency in model.of.tolist():
        packed += bytes([frequency] if frequency < 128 else [128 | frequency >> 8, frequency & 255])
    return bytes(packed)


def read(packed: memoryview, at: int) -> tuple[Frequencies, int]:
    """Return the model that begins at byte `at`, and where it ends. Raises UpdateError."""
    if len(packed) < at + 2:
        raise UpdateError("a packed update ends before its symbol model")
    shift, length = packed[at], packed[at + 1]
    if length > classes.COUNT or shift >= classes.LARGEST_BITS:
        raise UpdateError(f"a symbol model of {length} classes, shift {shift}: beyond the format")
    of, at = np.zeros(length, np.int64), at + 2
    for index in range(length):
        wide = 2 if at < len(packed) and packed[at] >= 128 else 1
        if len(packed) < at + wide:
            raise UpdateError("a packed update ends within its symbol model")
        of[index] = int.from_bytes(packed[at : at + wide], "big") & 0x7FFF
        at += wide
    if length and of.sum() != TOTAL:
        raise UpdateError(f"the frequencies of a symbol model sum to {of.sum()}, expected {TOTAL}")
    return Frequencies(shift, of), at


Slots = tuple[npt.NDArray[np.uint8], Integers, Integers]


def slots(model: Frequencies) -> Slots:
    """Return for each of the 2¹⁴ slots its class, the class's frequency, and the slot's place in it."""
    symbol = np.repeat(np.arange(model.of.size, dtype=np.uint8), model.of)
    place = np.arange(TOTAL) - model.starts[symbol]
    return symbol, model.of[symbol], place
