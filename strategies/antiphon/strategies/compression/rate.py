"""The search for the step that gives a message its size.

The rate is predicted from the profile of |x|, counted once quantised, and the prediction corrected until
both agree: once for parameters that are independent of their neighbours, a few times for others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antiphon.core.types import FloatArray
from antiphon.strategies.compression import pieces, profile
from antiphon.strategies.compression.profile import Profile
from antiphon.strategies.compression.quantiser import Quantised, quantise

_TRIES = 6
_CLOSE, _CLOSE_ENOUGH = (0.994, 1.003), (0.982, 1.015)
_PATIENCE = 3  # tries after which close enough will do
_MODELS_BITS = 8 * 50  # taken for the symbol models before they are known


def at_rate(flat: FloatArray, target_bits: float, rng: np.random.Generator) -> Quantised:
    """Quantise so that chunks and models take `target_bits`. Not for vectors of zeros.

    Parameters that share few magnitudes cross a threshold together, and no step gives the rate; then
    their lower 16 bits are drawn at random for the comparison (a change below 2⁻⁷), so that a part of
    them crosses. Where the smallest step takes fewer bits, the message is smaller.
    """
    parts = [flat[begin:end] for begin, end in pieces.bounds(flat.size)]
    counts = np.sum(pieces.in_threads(profile.of_slice, parts), axis=0)
    shape = profile.profile(counts, largest(flat))
    found = _search(parts, shape, target_bits)
    if not _within(found, target_bits, _CLOSE_ENOUGH) and found.step > 1.01 * shape.smallest_step:
        drawn = _search([_spread(part, rng) for part in parts], shape, target_bits)
        found = min(found, drawn, key=lambda each: _misses(each, target_bits))
    return found


def largest(flat: FloatArray) -> float:
    """Return max|x|, 0 for no parameters."""
    return float(max(flat.max(initial=0), -flat.min(initial=0)))


def bits(update: Quantised) -> float:
    """Return what chunks and models take."""
    return update.coded_bits + 8 * update.model_bytes


def _search(parts: Sequence[FloatArray], shape: Profile, target_bits: float) -> Quantised:
    wanted = max(target_bits - _MODELS_BITS, 1.0)
    step, offset = profile.best(shape, wanted)
    found = nearest = quantise(parts, step, offset)
    for attempt in range(1, _TRIES):
        if _within(found, target_bits, _CLOSE if attempt <= _PATIENCE else _CLOSE_ENOUGH):
            break
        if step == shape.smallest_step and bits(found) < target_bits:
            break
        ratio = (target_bits - 8 * found.model_bytes) / max(found.coded_bits, 1)
        wanted *= min(max(ratio, 0.25), 4.0)
        step = profile.step_for(shape, wanted, offset)
        found = quantise(parts, step, offset)
        nearest = min(nearest, found, key=lambda each: _misses(each, target_bits))
    return nearest


def _within(found: Quantised, target_bits: float, window: tuple[float, float]) -> bool:
    return window[0] * target_bits <= bits(found) <= window[1] * target_bits


def _misses(found: Quantised, target_bits: float) -> tuple[bool, float]:
    """Return how bad a rate is: first whether it exceeds the target, then how far it is from it."""
    too_much = bits(found) > _CLOSE_ENOUGH[1] * target_bits
    return too_much, abs(bits(found) - target_bits)


def _spread(part: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw the lower 16 bits of every parameter but zeros."""
    drawn = rng.integers(0, 1 << 16, part.size, np.uint16)
    bits = (part.view(np.uint32) & 0xFFFF_0000) | drawn
    return np.where(part == 0, part, bits.view(np.float32))
