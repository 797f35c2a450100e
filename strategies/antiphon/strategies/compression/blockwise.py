"""Eight or four bits per parameter: a scale for each block, and integers rounded at random without bias.

    s = max|x| / L over a block, rounded up to the scale's format;  q = ⌊x / s + u⌋,  u ~ U[0, 1)

with L = 127 or 7. E[s·q] = x, as in QSGD (Alistarh et al. 2017), with the maximum for a norm; the blocks
are those of 8-bit optimizers (Dettmers et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression import frame
from antiphon.strategies.compression.bf16 import from_bf16
from antiphon.strategies.compression.codec import Codec, Shapes

_SLICE = 1 << 20  # parameters rounded at a time, so that the draws stay in the cache
_LARGEST = np.array([0x7F7F_0000], np.uint32).view(np.float32)[0]  # of bfloat16
_NIBBLE = 4


@dataclass(frozen=True)
class _Grid:
    """What integers take. kind: of the message; bits: of each integer; levels: of a block, on each side of
    zero; wide: bytes of a scale.
    """

    kind: bytes
    bits: int
    levels: int
    block: int
    wide: int

    @property
    def largest_scale(self) -> np.float32:
        """Return the largest scale whose last level is finite."""
        return np.float32(_LARGEST / np.float32(self.levels + 1))

    def bytes(self, n: int) -> int:
        """Return the length of the integers and scales of n parameters."""
        return -(-n * self.bits // 8) + self.wide * -(-n // self.block)


def int8(*, block: int = 64, scales: Literal["bf16", "float32"] = "bf16") -> Codec:
    """Send 8-bit integers with one scale for each `block` parameters; unbiased."""
    return _codec("int8", _Grid(b"8", 8, 127, block, _wide(scales)))


def int4(*, block: int = 64, scales: Literal["bf16", "float32"] = "bf16") -> Codec:
    """Send 4-bit integers with one scale for each `block` parameters; unbiased."""
    return _codec("int4", _Grid(b"4", _NIBBLE, 7, block, _wide(scales)))


def _wide(scales: Literal["bf16", "float32"]) -> int:
    return {"bf16": 2, "float32": 4}[scales]


def _codec(name: str, grid: _Grid) -> Codec:
    if not 1 <= grid.block <= _SLICE:
        raise ConfigError(f"codec {name}: block is {grid.block}, expected 1 to {_SLICE}")

    def encode(tensors: Params, rng: np.random.Generator) -> bytes:
        flat, shapes = frame.flatten(tensors)
        scale = _scales(flat, grid)
        packed = scale.view("<u4") >> 16 if grid.wide == 2 else scale.view("<u4")
        codes = _rounded(flat, scale, grid, rng)
        body = packed.astype(f"<u{grid.wide}").tobytes() + _joined(codes, grid)
        return frame.seal(grid.kind, shapes, body)

    def decode(content: bytes, shapes: Shapes) -> dict[str, FloatArray]:
        body = frame.unseal(grid.kind, shapes, content)
        n = frame.size(shapes)
        frame.expect_bytes(len(body), grid.bytes(n), f"{name}'s integers and scales")
        split = grid.wide * -(-n // grid.block)
        scale = _read_scales(body[:split], grid)
        return frame.unflatten(_scaled(_parted(body[split:], n, grid), scale, grid.block), shapes)

    def bits(n: int) -> float:
        return 8 * (grid.bytes(n) + frame.HEADER_BYTES) / max(n, 1)

    return Codec(False, False, encode, decode, bits)


def _joined(codes: npt.NDArray[np.int8], grid: _Grid) -> bytes:
    """Return integers as bytes: of 4 bits two in each, the lower one first."""
    if grid.bits != _NIBBLE:
        return codes.tobytes()
    nibbles = np.zeros(codes.size + codes.size % 2, np.uint8)
    nibbles[: codes.size] = codes.view(np.uint8) & 15
    return (nibbles[::2] | nibbles[1::2] << _NIBBLE).tobytes()


def _parted(packed: memoryview, n: int, grid: _Grid) -> npt.NDArray[np.int8]:
    if grid.bits != _NIBBLE:
        return np.frombuffer(packed, np.int8)
    pairs = np.frombuffer(packed, np.uint8)
    nibbles = np.stack([pairs << _NIBBLE, pairs], axis=1).reshape(-1)[:n]
    # The sign of four bits comes down with the shift.
    parted: npt.NDArray[np.int8] = nibbles.view(np.int8) >> _NIBBLE
    return parted


def _scales(flat: FloatArray, grid: _Grid) -> FloatArray:
    """Return one scale per block; never so small that a parameter exceeds the levels."""
    if not flat.size:
        return np.zeros(0, np.float32)
    largest = np.maximum.reduceat(np.abs(flat), np.arange(0, flat.size, grid.block))
    up = np.nextafter(largest / np.float32(grid.levels), np.float32(np.inf), dtype=np.float32)
    if grid.wide == 2:
        up = ((up.view(np.uint32) + 0xFFFF) & 0xFFFF_0000).view(np.float32)
    scale: FloatArray = np.where(largest > 0, np.minimum(up, grid.largest_scale), np.float32(0))
    return scale


def _rounded(
    flat: FloatArray, scale: FloatArray, grid: _Grid, rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    codes = np.empty(flat.size, np.int8)
    divisor = np.where(scale > 0, scale, np.float32(1))
    step = _SLICE // grid.block * grid.block
    for begin in range(0, flat.size, step):
        part = flat[begin : begin + step]
        steps = part / _spread(divisor[begin // grid.block :], grid.block, part.size)
        steps += rng.random(part.size, np.float32)
        np.floor(steps, out=steps)
        codes[begin : begin + step] = np.clip(steps, -grid.levels, grid.levels, out=steps)
    return codes


def _read_scales(packed: memoryview, grid: _Grid) -> FloatArray:
    halves = np.frombuffer(packed, f"<u{grid.wide}")
    scale = from_bf16(halves) if grid.wide == 2 else halves.astype(np.uint32).view(np.float32)
    if not (np.isfinite(scale) & (scale >= 0) & (scale <= grid.largest_scale)).all():
        raise UpdateError("a scale of integers is negative, too large or not a number")
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
