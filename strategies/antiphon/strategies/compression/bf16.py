"""Tensors rounded to bfloat16: the upper 16 bits of a float32, to the nearest, to even on a tie.

The relative error is at most 2⁻⁸ of a normal number. Rounding to the nearest is deterministic: a part of
a delta that is too small for its tensor's format is lost every time, so that the codec counts as biased.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression import frame
from antiphon.strategies.compression.codec import Codec, Shapes

_SLICE = 1 << 16  # rounded at a time, in the cache
_LARGEST_BF16 = np.uint32(0x7F7F)


def bf16() -> Codec:
    """Send every parameter rounded to bfloat16: 16 bits each, relative error at most 2⁻⁸."""

    def encode(tensors: Params, rng: np.random.Generator) -> bytes:
        flat, shapes = frame.flatten(tensors)
        return frame.seal(b"b", shapes, to_bf16(flat).tobytes())

    def decode(content: bytes, shapes: Shapes) -> dict[str, FloatArray]:
        body = frame.unseal(b"b", shapes, content)
        frame.expect_bytes(len(body), 2 * frame.size(shapes), "bfloat16 values")
        return frame.unflatten(from_bf16(np.frombuffer(body, "<u2")), shapes)

    return Codec(True, False, encode, decode, lambda n: 16 + 8 * frame.HEADER_BYTES / max(n, 1))


def to_bf16(values: FloatArray) -> npt.NDArray[np.uint16]:
    """Round finite float32 to the nearest bfloat16, ties to even; beyond its range to its largest."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    halves = np.empty(bits.size, "<u2")
    for begin in range(0, bits.size, _SLICE):
        part = bits[begin : begin + _SLICE]
        upper = (part + (0x7FFF + ((part >> 16) & 1))) >> 16
        sign = upper & 0x8000
        halves[begin : begin + _SLICE] = np.minimum(upper & 0x7FFF, _LARGEST_BF16) | sign
    return halves


def from_bf16(halves: npt.NDArray[np.uint16]) -> FloatArray:
    """Return bfloat16 as float32, exactly."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
