"""A simulated fleet's chance: numbers that depend on what they are for, never on who asked before."""

from __future__ import annotations

import hashlib

_BITS = 53
"""Of a float64's fraction."""


def uniform(seed: int, client: str, purpose: str, index: int) -> float:
    """Return a number in (0, 1), the same for the same arguments on every machine."""
    content = f"{seed}/{purpose}/{index}/{client}".encode(errors="surrogatepass")
    drawn = int.from_bytes(hashlib.sha256(content).digest()[:8], "little") >> (64 - _BITS)
    return (drawn + 0.5) / (1 << _BITS)
