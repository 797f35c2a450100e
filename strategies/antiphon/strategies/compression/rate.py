"""The search for the step that gives a message its size.

The rate is predicted from the profile of |x|, counted once quantised, and the step moved until both agree:
by the ratio of both at first, by bisection between one that takes too much and one that takes too little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from antiphon.core.types import FloatArray
from antiphon.strategies.compression import pieces, profile
from antiphon.strategies.compression.profile import Part, Profile
from antiphon.strategies.compression.quantiser import Quantised, error, quantise

_TRIES = 14
_CLOSE, _CLOSE_ENOUGH = (0.994, 1.003), (0.982, 1.015)
_PATIENCE = 3  # tries after which close enough will do
_MODELS_BITS = 8 * 50  # taken for the symbol models before they are known
_NEARLY = 0.02
_WORTH, _WORTH_ENERGY = (
    0.985,
    1e-4,
)  # the error at which a part is tried: of the whole's, and of ‖x‖²


def at_rate(flat: FloatArray, target_bits: float, rng: np.random.Generator) -> Quantised:
    """Quantise so that chunks and models take `target_bits`. Not for vectors of zeros.

    Parameters that share few magnitudes cross a threshold together, and no step gives the rate; then
    their lower 16 bits are drawn at random for the comparison (a change below 2⁻⁷), so that a part of
    them crosses. Where the profile says that a part of the parameters, beginning anywhere, or signs say
    more, these are tried, too, and what loses less is taken. Where the smallest step takes fewer bits, or
    signs do and lose less, the message is smaller.
    """
    parts = [flat[begin:end] for begin, end in pieces.bounds(flat.size)]
    counts = np.sum(pieces.in_threads(profile.of_slice, parts), axis=0)
    shape = profile.profile(counts, largest(flat))
    found = _whole(parts, shape, target_bits, rng)
    part = profile.best_part(shape, max(target_bits - _MODELS_BITS, 1.0))
    if part.error > _WORTH * profile.squared_error(shape, found.step, found.offset) + (
        _WORTH_ENERGY * shape.second[-1]
    ):
        return found
    tried = [_some(flat, int(rng.integers(flat.size)), part, target_bits), found]
    if bits(tried[0]) < _CLOSE_ENOUGH[0] * target_bits:
        step = profile.step_for(shape, target_bits - _MODELS_BITS, part.offset)
        tried.append(_step_search(parts, shape, target_bits, step, part.offset))
    return min(tried, key=lambda each: (_misses(each, target_bits)[0], error(parts, each)))


def largest(flat: FloatArray) -> float:
    """Return max|x|, 0 for no parameters."""
    return float(max(flat.max(initial=0), -flat.min(initial=0)))


def bits(update: Quantised) -> float:
    """Return what chunks and models take."""
    return update.coded_bits + 8 * update.model_bytes


def _whole(
    parts: Sequence[FloatArray], shape: Profile, target_bits: float, rng: np.random.Generator
) -> Quantised:
    """Quantise all parameters alike."""
    first = profile.best(shape, max(target_bits - _MODELS_BITS, 1.0))
    found = _step_search(parts, shape, target_bits, *first)
    if not _within(found, target_bits, _CLOSE_ENOUGH) and found.step > 1.01 * shape.smallest_step:
        spread = [_spread(part, rng) for part in parts]
        drawn = _step_search(spread, shape, target_bits, *first)
        found = min(found, drawn, key=lambda each: _misses(each, target_bits))
    return found


def _step_search(
    parts: Sequence[FloatArray], shape: Profile, target_bits: float, step: float, offset: int
) -> Quantised:
    """Change the step until the target is met, beginning with one that is predicted to."""
    wanted = max(target_bits - _MODELS_BITS, 1.0)
    return _search(
        lambda step: quantise(parts, step, offset),
        lambda ratio: profile.step_for(shape, wanted * ratio, offset),
        (shape.smallest_step, shape.largest_step(offset)),
        step,
        target_bits,
    )


def _some(flat: FloatArray, begin: int, part: Part, target_bits: float) -> Quantised:
    """Quantise as many parameters from `begin` on as the target allows; the others are zeros."""

    def made(least: float) -> Quantised:  # 1 / share
        count = round(flat.size / least)
        chosen = np.zeros_like(flat)
        end = min(begin + count, flat.size)
        chosen[begin:end] = flat[begin:end]
        around = max(begin + count - flat.size, 0)
        chosen[:around] = flat[:around]
        cut = [chosen[a:b] for a, b in pieces.bounds(flat.size)]
        return quantise(cut, part.step, part.offset)

    whole = made(1.0) if part.share > 1 - _NEARLY else None
    if whole and bits(whole) <= _CLOSE_ENOUGH[1] * target_bits:
        return whole
    first, bounds = 1 / part.share, (1.0, float(flat.size))
    return _search(made, lambda ratio: max(first / ratio, 1.0), bounds, first, target_bits)


def _search(
    made: Callable[[float], Quantised],
    guess: Callable[[float], float],
    bounds: tuple[float, float],
    first: float,
    target_bits: float,
) -> Quantised:
    """Return what takes the target, or as near below it as was found, by changing one number.

    made(x): takes fewer bits as x grows; guess(ratio): an x that takes so many times what `first` was
    taken to.
    """
    low, high = bounds
    x, ratio = first, 1.0
    found = nearest = made(x)
    for attempt in range(1, _TRIES):
        if _within(found, target_bits, _CLOSE if attempt <= _PATIENCE else _CLOSE_ENOUGH):
            break
        low, high = (x, high) if bits(found) > target_bits else (low, x)  # fewer bits as x grows
        if high <= low * (1 + 1e-6):
            break
        ratio *= (target_bits - 8 * found.model_bytes) / max(found.coded_bits, 1)
        x = guess(min(max(ratio, 1e-3), 1e3)) if attempt <= _PATIENCE else 0.0
        if not low < x < high:
            x = (low * high) ** 0.5
        found = made(x)
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
