"""The largest parameters as their signs and one magnitude.

    x̂ = s · sign(x) for the `fraction` that is largest in magnitude, else 0;   s = their mean |x|

Sattler et al., IEEE TNNLS 2020, arXiv 1903.02891 (sparse ternary compression); Yadav et al., TMLR 2024,
arXiv 2311.13171 (ComPEFT: adapters in particular). Places are Rice-coded gaps.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression import frame, rice
from antiphon.strategies.compression.codec import Codec, Shapes
from antiphon.strategies.compression.topk import kept_of, largest

_HEAD = struct.Struct("<If")


def ternary(*, fraction: float = 0.05) -> Codec:
    """Send signs of the `fraction` of the parameters that is largest in magnitude, one at least."""
    if not 0 < fraction <= 1:
        raise ConfigError(
            f"codec ternary: fraction is {fraction}, expected more than 0 and at most 1"
        )

    def encode(tensors: Params, rng: np.random.Generator) -> bytes:
        flat, shapes = frame.flatten(tensors)
        positions = largest(flat, kept_of(fraction, flat.size))
        kept = flat[positions]
        scale = np.abs(kept, dtype=np.float64).mean() if kept.size else 0.0
        signs = np.packbits(np.signbit(kept)).tobytes()
        head = _HEAD.pack(kept.size, np.float32(scale))
        return frame.seal(b"t", shapes, head + signs + rice.pack(positions, flat.size))

    def decode(content: bytes, shapes: Shapes) -> dict[str, FloatArray]:
        body = frame.unseal(b"t", shapes, content)
        n = frame.size(shapes)
        kept, scale = _head(body, n)
        split = _HEAD.size + -(-kept // 8)
        negative = np.unpackbits(np.frombuffer(body[_HEAD.size : split], np.uint8), count=kept)
        positions = rice.unpack(body[split:], kept, n)
        flat = np.zeros(n, np.float32)
        flat[positions] = np.where(negative, -scale, scale)
        return frame.unflatten(flat, shapes)

    def bits(n: int) -> float:
        kept = kept_of(fraction, n)
        size = frame.HEADER_BYTES + _HEAD.size + -(-kept // 8) + rice.longest(kept, n)
        return 8 * size / max(n, 1)

    return Codec(True, False, encode, decode, bits)


def _head(body: memoryview, n: int) -> tuple[int, np.float32]:
    """Read how many are kept, and their magnitude. Raises UpdateError for what cannot be."""
    if len(body) < _HEAD.size:
        raise UpdateError(f"a ternary update of {len(body)} bytes has no header")
    kept, scale = _HEAD.unpack_from(body)
    if kept > n or _HEAD.size + -(-kept // 8) > len(body):
        raise UpdateError(f"a ternary update says it keeps {kept} of {n} in {len(body)} bytes")
    if not 0 <= scale < math.inf:
        raise UpdateError(f"the magnitude of a ternary update is {scale}, expected 0 or more")
    return kept, np.float32(scale)
