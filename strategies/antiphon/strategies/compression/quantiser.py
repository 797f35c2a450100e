"""The dead-zone uniform quantiser with one step for all tensors.

    k = ⌊|x|/δ + θ⌋;   x̂ = sign(x)·(k − θ + c_k)·δ for k ≥ 1, else 0

c_k is the mean place in bin k, sent for k ≤ 7 in 1/256 of a step and ½ beyond (Sullivan 1996). One step
across tensors of different scale is reverse water-filling: a tensor too small to matter takes no bits. At
the largest offset, `SIGNS`, every parameter but zeros has a bin of 1 or more: what a sign says needs no
zero bin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.core.types import Float64Array, FloatArray
from antiphon.strategies.compression import chunk, classes, frequencies
from antiphon.strategies.compression.bits import Integers
from antiphon.strategies.compression.chunk import Nonzero
from antiphon.strategies.compression.frequencies import Frequencies
from antiphon.strategies.compression.pieces import in_threads
from antiphon.strategies.compression.profile import SIGNS

CENTROIDS = 7
_LARGEST = float(np.finfo(np.float32).max)
_LANE_LOSS_BITS = 8
_SAMPLE = 1 << 16
_SLICE = 1 << 16  # parameters quantised at a time, in the cache


@dataclass(frozen=True)
class Quantised:
    """An update as integers, with the models to code them and the bits that the chunks will take."""

    step: float
    offset: int
    centroids: npt.NDArray[np.uint8]
    chunks: Sequence[Nonzero]
    gap_model: Frequencies
    magnitude_model: Frequencies
    coded_bits: float

    @property
    def model_bytes(self) -> int:
        """Return the length of both symbol models."""
        return sum(len(frequencies.write(each)) for each in (self.gap_model, self.magnitude_model))


@dataclass(frozen=True)
class _Part:
    """A chunk quantised: with counts and sums of |x|/δ + θ over bins 1 to 7."""

    nonzero: Nonzero
    counts: Integers
    sums: Float64Array


def quantise(parts: Sequence[FloatArray], step: float, offset: int) -> Quantised:
    """Quantise chunks with step δ (used as float32) and θ = offset/256, and count what was found."""
    sent = np.float32(step)
    made = in_threads(lambda part: _quantised(part, sent, offset), parts)
    chunks = [each.nonzero for each in made]
    gap_model, gap_bits = _gap_model(chunks, sum(part.size for part in parts))
    magnitude_model, magnitude_bits = _model(chunks, 0, lambda each: each.magnitudes - 1)
    signs = sum(each.gaps.size for each in chunks)
    coded = 0 if chunk.certain(gap_model, magnitude_model) else 1
    loss = coded * _LANE_LOSS_BITS * sum(chunk.lanes(each.gaps.size) for each in chunks)
    counts = np.sum([each.counts for each in made], axis=0)
    centroids = _centroids(counts, np.sum([each.sums for each in made], axis=0))
    bits = gap_bits + magnitude_bits + signs + loss
    return Quantised(float(sent), offset, centroids, chunks, gap_model, magnitude_model, bits)


def places(centroids: npt.NDArray[np.uint8], offset: int) -> Float64Array:
    """Return what is added to k, for k up to 8, to get |x̂| in steps; the last is for all beyond."""
    inside = np.concatenate([[0.5], (centroids + 0.5) / 256, [0.5]])
    added: Float64Array = inside - offset / 256
    return added


def restore(flat: FloatArray, chunk: Nonzero, step: float, places: Float64Array) -> None:
    """Write a chunk's parameters into zeros. Raises UpdateError where they do not fit in."""
    if chunk.gaps.max(initial=0) >= flat.size:
        raise UpdateError(f"a gap of {chunk.gaps.max()} in a chunk of {flat.size} parameters")
    at = np.cumsum(chunk.gaps + 1)
    at -= 1
    if at.size and at[-1] >= flat.size:
        raise UpdateError(f"a chunk of {flat.size} parameters has one at {at[-1]}")
    values = chunk.magnitudes + places.take(chunk.magnitudes, mode="clip")
    values *= step
    np.minimum(values, _LARGEST, out=values)
    np.negative(values, out=values, where=chunk.negative)
    flat[at] = values


def error(parts: Sequence[FloatArray], update: Quantised) -> float:
    """Return ‖x − x̂‖² of chunks, and of what they are restored to."""
    added = places(update.centroids, update.offset)

    def of_part(part: FloatArray, coded: Nonzero) -> float:
        restored = np.zeros_like(part)
        restore(restored, coded, update.step, added)
        return float(np.sum(np.square(np.subtract(part, restored, dtype=np.float64))))

    return sum(of_part(*each) for each in zip(parts, update.chunks, strict=True))


def _quantised(part: FloatArray, step: np.float32, offset: int) -> _Part:
    slices = [
        _slice(part[begin : begin + _SLICE], begin, step, offset)
        for begin in range(0, part.size, _SLICE)
    ]
    at = np.concatenate([places for places, _ in slices])
    gaps = np.diff(at, prepend=-1)
    gaps -= 1
    magnitudes = np.concatenate([each.nonzero.magnitudes for _, each in slices])
    negative = np.concatenate([each.nonzero.negative for _, each in slices])
    counts = np.sum([each.counts for _, each in slices], axis=0)
    sums = np.sum([each.sums for _, each in slices], axis=0)
    return _Part(Nonzero(gaps, magnitudes, negative), counts, sums)


def _slice(part: FloatArray, begin: int, step: np.float32, offset: int) -> tuple[Integers, _Part]:
    """Quantise as much as fits in the cache; return the places, and the rest without gaps."""
    scaled = np.abs(part)
    scaled /= step
    scaled += np.float32(offset / 256)
    at = np.flatnonzero(part if offset == SIGNS else scaled >= 1)
    inside = scaled.take(at)
    found = np.maximum(inside.astype(np.int64), 1)
    low = np.minimum(found, CENTROIDS + 1)
    counts = np.bincount(low, minlength=CENTROIDS + 2)[1:-1]
    sums = np.bincount(low, inside, CENTROIDS + 2)[1:-1].astype(np.float64)
    return at + begin, _Part(Nonzero(at[:0], found, part.take(at) < 0), counts, sums)


def _centroids(counts: Integers, sums: Float64Array) -> npt.NDArray[np.uint8]:
    """Return the mean place in bins 1 to 7, in 1/256 of a step; the middle where there is none."""
    mean = sums / np.maximum(counts, 1) - np.arange(1, CENTROIDS + 1)
    inside = np.where(counts > 0, mean, 0.5)
    coded: npt.NDArray[np.uint8] = np.clip(np.floor(inside * 256), 0, 255).astype(np.uint8)
    return coded


def _gap_model(chunks: Sequence[Nonzero], n: int) -> tuple[Frequencies, float]:
    """Choose how many lower bits of the gaps are raw, on a sample."""
    nonzero = sum(each.gaps.size for each in chunks)
    most = max(0, (n // max(nonzero, 1)).bit_length() - 4)
    sample = [
        Nonzero(each.gaps[:_SAMPLE], each.magnitudes[:0], each.negative[:0]) for each in chunks[:1]
    ]

    def cost(shift: int) -> float:
        model, bits = _model(sample, shift, lambda each: each.gaps)
        return bits + 8 * len(frequencies.write(model))

    shift = min(range(most + 1), key=cost) if most else 0
    return _model(chunks, shift, lambda each: each.gaps)


def _model(
    chunks: Sequence[Nonzero], shift: int, values: Callable[[Nonzero], Integers]
) -> tuple[Frequencies, float]:
    """Count the classes of all chunks; return their model and the bits that they take under it."""

    def count(each: Nonzero) -> Integers:
        return np.bincount(classes.classify(values(each) >> shift), minlength=classes.COUNT)

    counts = np.sum(in_threads(count, chunks), axis=0)
    model = frequencies.measured(counts, shift)
    return model, model.bits(counts)
