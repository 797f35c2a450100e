"""Sorted positions as Rice-coded gaps (Rice and Plaunt 1971; Golomb 1966).

A gap g between kept positions is ⌊g / 2ʳ⌋ zeros and a one, and the lower r bits; r follows from how many
of how many are kept, so that it is not sent. For positions kept at random the length is within a few
per cent of the entropy.
"""

from __future__ import annotations

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.strategies.compression.bits import BitReader, Integers, planes


def parameter(kept: int, of: int) -> int:
    """Return r = ⌊log2(2 ln φ · (g + ½))⌋ for gaps of mean g (Kiely 2004), 0 at least; in integers."""
    return max(0, (9_624 * (2 * of - kept) // (20_000 * max(kept, 1))).bit_length() - 1)


def longest(kept: int, of: int) -> int:
    """Return the most bytes that `pack` needs for `kept` positions of `of`."""
    r = parameter(kept, of)
    return (r * kept + 7) // 8 + (kept + (max(of - kept, 0) >> r) + 7) // 8


def pack(positions: Integers, of: int) -> bytes:
    """Pack increasing positions below `of`: the lower bits in planes, then the unary part."""
    r = parameter(positions.size, of)
    gaps = np.diff(positions, prepend=-1) - 1
    lower = planes(gaps & ((1 << r) - 1), np.full(gaps.size, r, np.uint8))
    ends = np.cumsum((gaps >> r) + 1) - 1
    unary = np.zeros(int(ends[-1]) + 1 if ends.size else 0, np.uint8)
    unary[ends] = 1
    packed = np.packbits(np.concatenate(lower)) if lower else np.zeros(0, np.uint8)
    return packed.tobytes() + np.packbits(unary).tobytes()


def unpack(packed: memoryview, kept: int, of: int) -> Integers:
    """Return the positions. Raises UpdateError unless they are `kept` positions below `of`."""
    if len(packed) > longest(kept, of):
        raise UpdateError(f"{len(packed)} bytes of positions, expected {longest(kept, of)} at most")
    r = parameter(kept, of)
    split = (r * kept + 7) // 8
    lower = BitReader(np.unpackbits(np.frombuffer(packed[:split], np.uint8)))
    remainders = lower.planes(np.full(kept, r, np.uint8))
    lower.finish()
    unary = np.frombuffer(packed[split:], np.uint8)
    ends = np.flatnonzero(np.unpackbits(unary))
    if ends.size != kept or unary.size != (int(ends[-1]) // 8 + 1 if kept else 0):
        raise UpdateError(f"a packed update holds {ends.size} positions, expected {kept}")
    gaps = ((np.diff(ends, prepend=-1) - 1) << r) | remainders
    positions = np.cumsum(gaps + 1) - 1
    if kept and positions[-1] >= of:
        raise UpdateError(f"a packed update keeps position {positions[-1]} of {of}")
    return positions
