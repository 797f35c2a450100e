"""Shares of a secret of which any `threshold` give it back, and fewer say nothing (Shamir, CACM 1979).

Over the field of the first prime above 2^256, so that each 32 bytes are one element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from antiphon.core.errors import UpdateError

PRIME: Final = 2**256 + 297
SHARE_BYTES: Final = 33
_SECRET_BYTES: Final = 32
_DRAWN_BYTES: Final = 48  # of a coefficient: what is left of them is even to one in 2^128

Entropy = Callable[[int], bytes]


def split(
    secret: bytes, threshold: int, points: Sequence[int], entropy: Entropy
) -> dict[int, bytes]:
    """Return a share for each point, 33 bytes. secret: 32 bytes; points: unlike, above zero.

    Raises ValueError for a threshold that the points cannot reach, or points that are none.
    """
    if not 1 <= threshold <= len(set(points)) == len(points) or min(points) < 1:
        raise ValueError(f"a threshold of {threshold} and the points {list(points)}")
    drawn = (int.from_bytes(entropy(_DRAWN_BYTES), "big") % PRIME for _ in range(threshold - 1))
    coefficients = [int.from_bytes(secret, "big"), *drawn]
    return {point: _at(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Return the secret of the first `threshold` shares by point, 32 bytes.

    Whether it is the one that was split, shares do not say: compare it with what is known of it. Raises
    UpdateError for too few, for what is no share, and where they lie on no curve of a secret.
    """
    if len(shares) < threshold:
        raise UpdateError(f"{len(shares)} shares of a secret, expected {threshold} at least")
    points = tuple(sorted(shares)[:threshold])
    total = 0
    for point, weight in zip(points, _weights(points), strict=True):
        share = int.from_bytes(shares[point], "big")
        if len(shares[point]) != SHARE_BYTES or share >= PRIME:
            raise UpdateError(f"share {point} is none: it is of another size, or beyond the field")
        total += share * weight
    total %= PRIME
    if total >> (8 * _SECRET_BYTES):
        raise UpdateError("the shares give no secret of 32 bytes: one of them is false")
    return total.to_bytes(_SECRET_BYTES, "big")


def _at(coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value


# Public: the same few sets of points give all secrets of a round.
@lru_cache(maxsize=1024)
def _weights(points: tuple[int, ...]) -> tuple[int, ...]:
    """Return Lagrange's weights at zero."""
    weights = []
    for point in points:
        above = below = 1
        for other in points:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
