"""The largest parameters of the whole update, and where they are (Aji and Heafield 2017).

The threshold is one for all tensors. Biased by construction: without error feedback what is never among
the largest is never sent (Stich et al. 2018).
"""

from __future__ import annotations

import struct
from typing import Literal

import numpy as np

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression import frame, rice
from antiphon.strategies.compression.bf16 import from_bf16, to_bf16
from antiphon.strategies.compression.bits import Integers
from antiphon.strategies.compression.codec import Codec, Shapes

_KEPT = struct.Struct("<I")


def topk(*, fraction: float = 0.05, values: Literal["float32", "bf16"] = "bf16") -> Codec:
    """Send the `fraction` of the parameters that is largest in magnitude, one at least."""
    if not 0 < fraction <= 1:
        raise ConfigError(f"codec topk: fraction is {fraction}, expected more than 0 and at most 1")
    wide = {"bf16": 2, "float32": 4}[values]
    kind = {"bf16": b"k", "float32": b"K"}[values]

    def encode(tensors: Params, rng: np.random.Generator) -> bytes:
        flat, shapes = frame.flatten(tensors)
        positions = largest(flat, kept_of(fraction, flat.size))
        kept = flat[positions]
        sent = to_bf16(kept) if wide == 2 else kept.astype("<f4")
        head = _KEPT.pack(positions.size)
        return frame.seal(kind, shapes, head + sent.tobytes() + rice.pack(positions, flat.size))

    def decode(content: bytes, shapes: Shapes) -> dict[str, FloatArray]:
        body = frame.unseal(kind, shapes, content)
        n = frame.size(shapes)
        kept = _count(body, n, wide)
        split = _KEPT.size + wide * kept
        sent = np.frombuffer(body[_KEPT.size : split], f"<u{wide}")
        flat = np.zeros(n, np.float32)
        positions = rice.unpack(body[split:], kept, n)
        flat[positions] = from_bf16(sent) if wide == 2 else sent.astype(np.uint32).view(np.float32)
        return frame.unflatten(flat, shapes)

    def bits(n: int) -> float:
        kept = kept_of(fraction, n)
        size = frame.HEADER_BYTES + _KEPT.size + wide * kept + rice.longest(kept, n)
        return 8 * size / max(n, 1)

    return Codec(True, False, encode, decode, bits)


def kept_of(fraction: float, n: int) -> int:
    """Return how many of n parameters a fraction is, one at least."""
    return min(n, max(1, round(fraction * n)))


def _count(body: memoryview, n: int, wide: int) -> int:
    """Read how many are kept. Raises UpdateError for more than there are, or than were sent."""
    if len(body) < _KEPT.size:
        raise UpdateError(f"a top-k update of {len(body)} bytes has no header")
    kept: int = _KEPT.unpack_from(body)[0]
    if kept > n or _KEPT.size + wide * kept > len(body):
        raise UpdateError(f"a top-k update says it keeps {kept} of {n} in {len(body)} bytes")
    return kept


def largest(flat: FloatArray, kept: int) -> Integers:
    """Return the positions of the largest magnitudes, sorted; of equal ones the first."""
    if kept == 0:
        return np.zeros(0, np.int64)
    magnitude = flat.view(np.uint32) & 0x7FFF_FFFF  # ordered as |x| is
    threshold = np.partition(magnitude, flat.size - kept)[flat.size - kept]
    chosen = magnitude > threshold
    equal = np.flatnonzero(magnitude == threshold)
    chosen[equal[: kept - np.count_nonzero(chosen)]] = True
    return np.flatnonzero(chosen)
