"""Interleaved range asymmetric numeral systems, many lanes at a time (Duda 2013; Giesen 2014).

A lane's state x lies in [2¹⁶, 2³²). With a symbol's frequency f of 2¹⁴ and the start c of its interval

    encode:  while x ≥ f·2¹⁸ emit the lower 16 bits;  x ← ⌊x / f⌋·2¹⁴ + c + (x mod f)
    decode:  slot = x mod 2¹⁴;  x ← f·⌊x / 2¹⁴⌋ + slot − c;  if x < 2¹⁶ read 16 bits below it

Row t of a column of symbols holds one symbol for each lane; the columns take turns, so that two streams
with different models share the states. Integers only: the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.strategies.compression.bits import Integers
from antiphon.strategies.compression.classes import Classes
from antiphon.strategies.compression.frequencies import TOTAL, TOTAL_BITS, Frequencies, slots

Words16 = npt.NDArray[np.uint16]

LOWEST = 1 << 16
_FULL = 32 - TOTAL_BITS


def encode(
    columns: Sequence[tuple[Classes, Frequencies]], states: Integers
) -> tuple[Integers, Words16]:
    """Code columns of (rows, lanes) symbols; return the final states and the words.

    states: where to begin, in [2¹⁶, 2¹⁷): the lower 16 bits come back from `decode`, so that they can
    carry 16 bits of anything. Every symbol must have a frequency.
    """
    x, quotient = states.copy(), np.empty_like(states)
    emitted: list[Words16] = []
    tables = [(symbols, model.of, model.starts) for symbols, model in columns]
    for row in range(len(columns[0][0]) - 1, -1, -1):
        for symbols, frequency, start in reversed(tables):
            symbol = symbols[row]
            f = frequency.take(symbol)
            np.right_shift(x, _FULL, out=quotient)
            full = (quotient >= f).nonzero()[0]
            large = x.take(full)
            emitted.append(large.astype(np.uint16))
            x[full] = large >> 16
            np.floor_divide(x, f, out=quotient)
            quotient *= TOTAL - f
            x += quotient  # = ⌊x / f⌋·2¹⁴ + x mod f
            x += start.take(symbol)
    return x, np.concatenate(emitted[::-1])


def decode(
    states: Integers, words: Words16, models: Sequence[Frequencies], rows: int
) -> tuple[list[Classes], Integers]:
    """Return one (rows, lanes) column of symbols for each model, and the states that encoding began with.

    Raises UpdateError where the words do not end with the symbols.
    """
    x, at = states.copy(), 0
    columns = [np.empty((rows, x.size), np.uint8) for _ in models]
    tables = [(column, *slots(model)) for column, model in zip(columns, models, strict=True)]
    slot, scaled = np.empty_like(x), np.empty_like(x)
    for row in range(rows):
        for column, symbol, frequency, place in tables:
            np.bitwise_and(x, TOTAL - 1, out=slot)
            symbol.take(slot, out=column[row], mode="clip")
            x >>= TOTAL_BITS
            x *= frequency.take(slot, out=scaled, mode="clip")
            x += place.take(slot, out=scaled, mode="clip")
            low = (x < LOWEST).nonzero()[0]
            read = words[at : at + low.size]
            if read.size != low.size:
                raise UpdateError("the symbols of a packed update end too early")
            x[low] = (x.take(low) << 16) | read
            at += low.size
    if at != words.size:
        raise UpdateError(f"a packed update has {words.size - at} words more than its symbols need")
    return columns, x
