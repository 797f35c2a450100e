"""Entropy-coded dead-zone quantisation: any rate from 0.05 to 8 bits per parameter.

The quantiser is in `quantiser.py`, its integers are coded as gaps, magnitudes and signs in `chunk.py`.
The body of a message:

    4 B δ, float32 · 1 B θ·256 · 7 B centroids · gap model · magnitude model
    for each chunk: 4 B nonzero parameters · 4 B words · 4 B length      then the chunks

An update of zeros (and one without a parameter above 2⁻¹⁰⁰) is the four bytes of δ = 0. Chunk bounds
follow from the number of parameters.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression import chunk, frame, frequencies, pieces, quantiser, rate
from antiphon.strategies.compression.codec import Codec, Shapes
from antiphon.strategies.compression.quantiser import CENTROIDS, Quantised

_HEAD = struct.Struct(f"<fB{CENTROIDS}s")
_CHUNK = struct.Struct("<III")
_ZERO = bytes(4)
_SMALLEST = 2.0**-100  # an update without any larger parameter is sent as zeros
_FIXED_BITS = 8 * 120  # header, models and one chunk's header, with room
_TOLERANCE = 1.02
_SMALLER = 0.985


def ecdq(*, bits: float = 1.0) -> Codec:
    """Send `bits` per parameter, within 2 %, with the least squared error of all codecs here."""
    if not 0.05 <= bits <= 8:
        raise ConfigError(f"codec ecdq: bits is {bits}, expected 0.05 to 8 for each parameter")

    def encode(tensors: Params, rng: np.random.Generator) -> bytes:
        flat, shapes = frame.flatten(tensors)
        if rate.largest(flat) < _SMALLEST:
            return frame.seal(b"q", shapes, _ZERO)
        allowed = _budget(bits, flat.size)
        target = allowed - 8 * _header_bytes(flat.size)
        while True:
            body = _pack(rate.at_rate(flat, target, rng))
            if 8 * (len(body) + frame.HEADER_BYTES) <= _TOLERANCE * allowed:
                return frame.seal(b"q", shapes, body)
            target *= _SMALLER

    def decode(content: bytes, shapes: Shapes) -> dict[str, FloatArray]:
        body = frame.unseal(b"q", shapes, content)
        n = frame.size(shapes)
        flat = np.zeros(n, np.float32) if body == _ZERO else _unpack(body, n)
        return frame.unflatten(flat, shapes)

    return Codec(True, False, encode, decode, lambda n: _TOLERANCE * _budget(bits, n) / max(n, 1))


def _budget(bits: float, n: int) -> float:
    """Return a message's bits: what was asked for, and in a small one room for the header beside half."""
    return max(bits * n, bits * n / 2 + _FIXED_BITS)


def _header_bytes(n: int) -> int:
    return frame.HEADER_BYTES + _HEAD.size + _CHUNK.size * len(pieces.bounds(n))


def _pack(update: Quantised) -> bytes:
    models = (update.gap_model, update.magnitude_model)
    packed = pieces.in_threads(lambda each: chunk.pack(each, *models), update.chunks)
    head = _HEAD.pack(update.step, update.offset, update.centroids.tobytes())
    table = (
        _CHUNK.pack(each.gaps.size, words, len(content))
        for each, (content, words) in zip(update.chunks, packed, strict=True)
    )
    contents = (content for content, _ in packed)
    return b"".join([head, *map(frequencies.write, models), *table, *contents])


def _unpack(body: memoryview, n: int) -> FloatArray:
    """Return the parameters. Raises UpdateError for anything that `_pack` does not write."""
    if len(body) < _HEAD.size:
        raise UpdateError(f"an ecdq update of {len(body)} bytes has no header")
    step, offset, centroids = _HEAD.unpack_from(body)
    if not 0 < step < math.inf:
        raise UpdateError(f"the step of an ecdq update is {step}, expected a positive number")
    gap_model, at = frequencies.read(body, _HEAD.size)
    magnitude_model, at = frequencies.read(body, at)
    models = (gap_model, magnitude_model)
    places = quantiser.places(np.frombuffer(centroids, np.uint8), offset)
    flat = np.zeros(n, np.float32)

    def fill(each: _Piece) -> None:
        nonzero = chunk.unpack(each.packed, each.nonzero, each.words, *models)
        quantiser.restore(flat[each.begin : each.end], nonzero, step, places)

    pieces.in_threads(fill, _table(body, at, n))
    return flat


@dataclass(frozen=True)
class _Piece:
    """Where a chunk lies in the update, and what is known of it before it is unpacked."""

    begin: int
    end: int
    nonzero: int
    words: int
    packed: memoryview


def _table(body: memoryview, at: int, n: int) -> list[_Piece]:
    """Read the table of chunks; those without parameters are left out. Raises UpdateError."""
    bounds = pieces.bounds(n)
    content = at + _CHUNK.size * len(bounds)
    if len(body) < content:
        raise UpdateError("an ecdq update ends within its table of chunks")
    found = []
    for (begin, end), entry in zip(bounds, _CHUNK.iter_unpack(body[at:content]), strict=True):
        nonzero, words, length = entry
        if nonzero > end - begin:
            raise UpdateError(f"a chunk says that {nonzero} of {end - begin} are not zero")
        if nonzero or length:
            packed = body[content : content + length]
            frame.expect_bytes(len(packed), length, "a chunk of an ecdq update")
            found.append(_Piece(begin, end, nonzero, words, packed))
        content += length
    frame.expect_bytes(len(body), content, "an ecdq update")
    return found
