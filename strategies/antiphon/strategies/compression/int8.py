"""Eight bits per parameter: a scale for each block, and integers rounded at random without bias.

    s = max|x| / 127 over a block, rounded up to the scale's format;  q = ⌊x / s + u⌋,  u ~ U[0, 1)

E[s·q] = x, as in QSGD (Alistarh et al. 2017), with the maximum for a norm; the blocks are those of
8-bit optimizers (Dettmers et al. 2022).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression import frame
from antiphon.strategies.compression.bf16 import from_bf16
from antiphon.strategies.compression.codec import Codec, Shapes

_LEVELS = 127
_SLICE = 1 << 20  # parameters rounded at a time, so that the draws stay in the cache
_LARGEST_SCALE = np.array([0x7F7F_0000], np.uint32).view(np.float32)[0] / np.float32(128)


def int8(*, block: int = 64, scales: Literal["bf16", "float32"] = "bf16") -> Codec:
    """Send 8-bit integers with one scale for each `block` parameters; unbiased."""
    if not 1 <= block <= _SLICE:
        raise ConfigError(f"codec int8: block is {block}, expected 1 to {_SLICE}")
    wide = {"bf16": 2, "float32": 4}[scales]

    def encode(tensors: Params, rng: np.random.Generator) -> bytes:
        flat, shapes = frame.flatten(tensors)
        scale = _scales(flat, block, wide)
        packed = scale.view("<u4") >> 16 if wide == 2 else scale.view("<u4")
        codes = _rounded(flat, scale, block, rng)
        return frame.seal(b"8", shapes, packed.astype(f"<u{wide}").tobytes() + codes.tobytes())

    def decode(content: bytes, shapes: Shapes) -> dict[str, FloatArray]:
        body = frame.unseal(b"8", shapes, content)
        n = frame.size(shapes)
        blocks = -(-n // block)
        frame.expect_bytes(len(body), n + wide * blocks, "8-bit integers and scales")
        scale = _read_scales(body[: wide * blocks], wide)
        codes = np.frombuffer(body[wide * blocks :], np.int8)
        return frame.unflatten(_scaled(codes, scale, block), shapes)

    def bits(n: int) -> float:
        return 8 + 8 * (wide * -(-n // block) + frame.HEADER_BYTES) / max(n, 1)

    return Codec(False, False, encode, decode, bits)


def _scales(flat: FloatArray, block: int, wide: int) -> FloatArray:
    """Return one scale per block; never so small that a parameter exceeds 127 steps."""
    if not flat.size:
        return np.zeros(0, np.float32)
    largest = np.maximum.reduceat(np.abs(flat), np.arange(0, flat.size, block))
    up = np.nextafter(largest / np.float32(_LEVELS), np.float32(np.inf), dtype=np.float32)
    if wide == 2:
        up = ((up.view(np.uint32) + 0xFFFF) & 0xFFFF_0000).view(np.float32)
    scale: FloatArray = np.where(largest > 0, np.minimum(up, _LARGEST_SCALE), np.float32(0))
    return scale


def _rounded(
    flat: FloatArray, scale: FloatArray, block: int, rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    codes = np.empty(flat.size, np.int8)
    divisor = np.where(scale > 0, scale, np.float32(1))
    step = _SLICE // block * block
    for begin in range(0, flat.size, step):
        part = flat[begin : begin + step]
        steps = part / _spread(divisor[begin // block :], block, part.size)
        steps += rng.random(part.size, np.float32)
        np.floor(steps, out=steps)
        codes[begin : begin + step] = np.clip(steps, -_LEVELS, _LEVELS, out=steps)
    return codes


def _read_scales(packed: memoryview, wide: int) -> FloatArray:
    halves = np.frombuffer(packed, f"<u{wide}")
    scale = from_bf16(halves) if wide == 2 else halves.astype(np.uint32).view(np.float32)
    if not (np.isfinite(scale) & (scale >= 0) & (scale <= _LARGEST_SCALE)).all():
        raise UpdateError("a scale of an int8 update is negative, too large or not a number")
    return scale


def _scaled(codes: npt.NDArray[np.int8], scale: FloatArray, block: int) -> FloatArray:
    values = codes.astype(np.float32)
    step = _SLICE // block * block
    for begin in range(0, values.size, step):
        part = values[begin : begin + step]
        part *= _spread(scale[begin // block :], block, part.size)
    return values


def _spread(scale: FloatArray, block: int, n: int) -> FloatArray:
    """Return the scale of each of the n parameters that begin with the first block."""
    return np.repeat(scale[: -(-n // block)], block)[:n]
