"""One chunk of quantised parameters as bytes: gaps, magnitudes and signs of those that are not zero.

    4 B per lane: final rANS states · 2 B each: words · raw bits (signs, gaps' and magnitudes' lower bits)

Gap and magnitude classes share the lanes' states, which begin with the first raw bits in them: of a
lane's 32 bits about 8 are lost, and there is one lane for each 1,024 nonzero parameters. Where either
class is always the same, as in an update of signs, there is no lane, only raw bits: `RAW` words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.strategies.compression import classes, rans
from antiphon.strategies.compression.bits import BitReader, Bits, Integers, planes
from antiphon.strategies.compression.classes import Classes
from antiphon.strategies.compression.frequencies import Frequencies

_SYMBOLS_PER_LANE = 1024
_PAYLOAD = 16  # raw bits in a lane's first state
RAW = 0xFFFF_FFFF
"""Said for the number of words where a chunk has no lanes."""


@dataclass(frozen=True)
class Nonzero:
    """A chunk's nonzero parameters in order: the zeros before each, ⌊|x|/δ + θ⌋, and the sign."""

    gaps: Integers
    magnitudes: Integers
    negative: npt.NDArray[np.bool_]


def certain(*models: Frequencies) -> bool:
    """Return whether each model has one symbol only, so that there is nothing to code."""
    return all(np.count_nonzero(each.of) == 1 for each in models)


def lanes(nonzero: int) -> int:
    """Return how many states code that many nonzero parameters."""
    return -(-nonzero // _SYMBOLS_PER_LANE)


def pack(chunk: Nonzero, gap_model: Frequencies, magnitude_model: Frequencies) -> tuple[bytes, int]:
    """Return the chunk's bytes, and how many of them are words, in units of 2 bytes."""
    if not chunk.gaps.size:
        return b"", 0
    width = 0 if certain(gap_model, magnitude_model) else lanes(chunk.gaps.size)
    raw = [chunk.negative.view(np.uint8)]
    columns = []
    for values, model in ((chunk.gaps, gap_model), (chunk.magnitudes - 1, magnitude_model)):
        found = classes.classify(values >> model.shift)
        at, widths = classes.wide(found, model.shift)
        base = classes.BASES.take(found.take(at)) << model.shift
        raw += planes(values.take(at) - base, widths)
        if width:
            columns.append((_rows(found, width, int(np.argmax(model.of))), model))
    if not width:
        return np.packbits(np.concatenate(raw)).tobytes(), RAW
    first, rest = _split(np.concatenate(raw), width)
    states, words = rans.encode(columns, first | rans.LOWEST)
    packed = states.astype("<u4").tobytes() + words.astype("<u2", copy=False).tobytes()
    return packed + np.packbits(rest).tobytes(), words.size


def unpack(
    packed: memoryview,
    nonzero: int,
    words: int,
    gap_model: Frequencies,
    magnitude_model: Frequencies,
) -> Nonzero:
    """Return the chunk. Raises UpdateError where the bytes are not such a chunk's."""
    models = (gap_model, magnitude_model)
    if words == RAW:
        columns, reader = _constant(packed, nonzero, models)
    else:
        columns, reader = _coded(packed, nonzero, words, models)
    negative = reader.take(nonzero).view(np.bool_)
    gaps, magnitudes = (
        _values(column.reshape(-1)[:nonzero], model, reader)
        for column, model in zip(columns, models, strict=True)
    )
    reader.finish()
    return Nonzero(gaps, magnitudes + 1, negative)


_Models = tuple[Frequencies, Frequencies]


def _constant(
    packed: memoryview, nonzero: int, models: _Models
) -> tuple[Sequence[Classes], BitReader]:
    """Return the symbols of a chunk without lanes, and its raw bits."""
    if not (certain(*models) and 0 < nonzero <= 8 * len(packed)):
        raise UpdateError(
            f"a chunk of {len(packed)} bytes without lanes cannot hold {nonzero} parameters"
        )
    columns = [np.full(nonzero, int(np.argmax(each.of)), np.uint8) for each in models]
    return columns, BitReader(np.unpackbits(np.frombuffer(packed, np.uint8)))


def _coded(
    packed: memoryview, nonzero: int, words: int, models: _Models
) -> tuple[Sequence[Classes], BitReader]:
    """Return the symbols that the lanes code, and the raw bits."""
    width = lanes(nonzero)
    split = 4 * width + 2 * words
    signs = _PAYLOAD * width + 8 * (len(packed) - split)
    modelled = all(each.of.size > 0 for each in models)
    if not (modelled and split <= len(packed) and 0 < nonzero <= signs):
        raise UpdateError(f"a chunk of {len(packed)} bytes cannot hold {nonzero} parameters")
    states = np.frombuffer(packed[: 4 * width], "<u4").astype(np.int64)
    if (states < rans.LOWEST).any():
        raise UpdateError("a coder state of a packed update is out of range")
    coded = np.frombuffer(packed[4 * width : split], "<u2")
    columns, first = rans.decode(states, coded, models, -(-nonzero // width))
    if (first >= 2 * rans.LOWEST).any():
        raise UpdateError("a coder state of a packed update does not return to where it began")
    return columns, BitReader(_join(first, np.unpackbits(np.frombuffer(packed[split:], np.uint8))))


def _rows(symbols: Classes, width: int, filler: int) -> Classes:
    """Return (rows, width) symbols; the commonest one fills the last row."""
    rows = np.full((-(-symbols.size // width), width), filler, np.uint8)
    rows.reshape(-1)[: symbols.size] = symbols
    return rows


def _values(found: Classes, model: Frequencies, reader: BitReader) -> Integers:
    at, widths = classes.wide(found, model.shift)
    values = classes.BASES.take(found)
    values <<= model.shift
    values[at] += reader.planes(widths)
    return values


def _split(bits: Bits, width: int) -> tuple[Integers, Bits]:
    """Take the first raw bits, 16 for each lane; zeros where there are fewer."""
    first = np.zeros(_PAYLOAD * width, np.uint8)
    head = bits[: first.size]
    first[: head.size] = head
    weights = 1 << np.arange(_PAYLOAD)
    return first.reshape(width, _PAYLOAD) @ weights, bits[first.size :]


def _join(states: Integers, rest: Bits) -> Bits:
    """Put the bits in front again that the lanes began with."""
    first = (states[:, None] >> np.arange(_PAYLOAD)) & 1
    return np.concatenate([first.astype(np.uint8).reshape(-1), rest])
