"""One bit per parameter: its sign, and the mean magnitude of each block.

    x̂ = s · sign(x),   s = mean|x| over a block

the scale of least squared error. Signs with their mean magnitude and error feedback: Karimireddy et al.,
ICML 2019, arXiv 1901.09847; they say most where magnitudes are about alike, as after few steps of Adam.
"""

from __future__ import annotations

import numpy as np

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression import frame
from antiphon.strategies.compression.bf16 import from_bf16, to_bf16
from antiphon.strategies.compression.codec import Codec, Shapes

_LARGEST_BLOCK = 1 << 20
_SCALE_BYTES = 2


def sign(*, block: int = 1024) -> Codec:
    """Send signs, with one scale for each `block` parameters."""
    if not 1 <= block <= _LARGEST_BLOCK:
        raise ConfigError(f"codec sign: block is {block}, expected 1 to {_LARGEST_BLOCK}")

    def encode(tensors: Params, rng: np.random.Generator) -> bytes:
        flat, shapes = frame.flatten(tensors)
        scales = to_bf16(_means(flat, block)).astype("<u2")
        return frame.seal(b"s", shapes, scales.tobytes() + np.packbits(np.signbit(flat)).tobytes())

    def decode(content: bytes, shapes: Shapes) -> dict[str, FloatArray]:
        body = frame.unseal(b"s", shapes, content)
        n = frame.size(shapes)
        frame.expect_bytes(len(body), size(n), "signs and scales")
        split = _SCALE_BYTES * -(-n // block)
        scales = from_bf16(np.frombuffer(body[:split], "<u2"))
        if np.signbit(scales).any():
            raise UpdateError("a scale of signs is negative")
        flat = np.repeat(scales, block)[:n]
        negative = np.unpackbits(np.frombuffer(body[split:], np.uint8), count=n)
        np.negative(flat, out=flat, where=negative.view(np.bool_))
        return frame.unflatten(flat, shapes)

    def size(n: int) -> int:
        return -(-n // 8) + _SCALE_BYTES * -(-n // block)

    def bits(n: int) -> float:
        return 8 * (size(n) + frame.HEADER_BYTES) / max(n, 1)

    return Codec(True, False, encode, decode, bits)


def _means(flat: FloatArray, block: int) -> FloatArray:
    if not flat.size:
        return flat
    begins = np.arange(0, flat.size, block)
    sums = np.add.reduceat(np.abs(flat).astype(np.float64), begins)
    counts = np.diff(begins, append=flat.size)
    means: FloatArray = (sums / counts).astype(np.float32)
    return means
