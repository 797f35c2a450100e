"""Philox4x32-10 in numpy: a counter-based generator made of integer operations only.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11). Four 32-bit counters and a 64-bit
key give 128 random bits, with no state: any block can be computed alone, in any order, on any machine.
Integers are why the bits are the same from numpy, torch on a CPU and torch on a GPU, which no framework's
own normal generator promises.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Counters = npt.NDArray[np.uint64]

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
MASK = 0xFFFFFFFF
# 8,192 lanes of the six 64-bit buffers stay inside a second-level cache.
_CHUNK = 8192


def round_keys(key: int) -> list[tuple[int, int]]:
    """Return the ten (low, high) 32-bit round keys of a 64-bit key."""
    low, high = key & MASK, (key >> 32) & MASK
    return [
        ((low + i * KEY_STEPS[0]) & MASK, (high + i * KEY_STEPS[1]) & MASK) for i in range(ROUNDS)
    ]


def philox4x32(c0: Counters, c1: Counters, c2: Counters, c3: Counters, key: int) -> Words:
    """Return the random words (n, 4) of n counters; each argument is (n,) of 32-bit values."""
    out = np.empty((len(c0), 4), dtype=np.uint32)
    keys = round_keys(key)
    for start in range(0, len(c0), _CHUNK):
        part = slice(start, start + _CHUNK)
        _ten_rounds([c0[part], c1[part], c2[part], c3[part]], keys, out[part])
    return out


def _ten_rounds(counters: list[Counters], keys: list[tuple[int, int]], out: Words) -> None:
    x0, x1, x2, x3 = (counter.copy() for counter in counters)
    low0, low1 = np.empty_like(x0), np.empty_like(x0)
    mask, shift = np.uint64(MASK), np.uint64(32)
    m0, m1 = (np.uint64(multiplier) for multiplier in MULTIPLIERS)
    for k0, k1 in keys:
        np.multiply(x0, m0, out=x0)
        np.multiply(x2, m1, out=x2)
        np.bitwise_and(x0, mask, out=low0)
        np.bitwise_and(x2, mask, out=low1)
        np.right_shift(x0, shift, out=x0)
        np.right_shift(x2, shift, out=x2)
        np.bitwise_xor(x1, x2, out=x2)
        np.bitwise_xor(x2, np.uint64(k0), out=x2)
        np.bitwise_xor(x3, x0, out=x0)
        np.bitwise_xor(x0, np.uint64(k1), out=x0)
        # The words change places: (hi1^c1^k0, lo1, hi0^c3^k1, lo0).
        x0, x1, x2, x3, low0, low1 = x2, low1, x0, low0, x3, x1
    for column, words in enumerate((x0, x1, x2, x3)):
        out[:, column] = words
