"""How large the parameters are, in one pass: what a quantiser's rate and error are predicted from.

The histogram of |x| has 128 bins in every octave (the upper 16 bits of a float32), and a parameter is
taken to be anywhere in its bin. With step δ and rounding offset θ a parameter falls into bin
k = ⌊|x|/δ + θ⌋, that is k ≥ 1 from (k − θ)·δ on. Gaps between the nonzero ones of n independent
parameters take n·h(p) bits, p the part that is nonzero and h the binary entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.core.types import Float64Array, FloatArray
from antiphon.strategies.compression import classes

_BINS = 0x7F80  # the upper halves of all finite magnitudes
_SLICE = 1 << 18
_RESOLVED = 32  # quantiser bins whose error is computed; beyond, δ²/12
_HALVINGS = 26  # of the search for δ
SIGNS = 255
"""The offset at which nothing but zero itself falls into the zero bin: signs, and magnitudes above."""
OFFSETS = (*range(16, 129, 14), 160, 192, 224, SIGNS)
"""The rounding offsets θ that are tried, in 1/256: from a wide dead zone over plain rounding to none."""
_LEAST = 2.0**-126
_LARGEST = float(np.finfo(np.float32).max)
_STEPS = 12  # of a coarse grid, from the largest parameter down by √2 each


@dataclass(frozen=True)
class Profile:
    """Cumulative over bins of |x|: count, Σ|x| and Σx² below each edge, all float64 (bins + 1,)."""

    edges: Float64Array
    count: Float64Array
    first: Float64Array
    second: Float64Array
    largest: float

    @property
    def smallest_step(self) -> float:
        """Return the least δ: the largest parameter falls below 2²⁰ steps."""
        return self.largest * 2.0**-20

    def largest_step(self, offset: int) -> float:
        """Return a δ with which as little is sent as this offset can: nothing, or no more than signs."""
        inside = 1.0 if offset == SIGNS else 1 - offset / 256
        return min(1.05 * self.largest / inside, _LARGEST)


def of_slice(flat: FloatArray) -> npt.NDArray[np.int64]:
    """Return the histogram of |x| over its upper 16 bits; histograms of slices add up."""
    counts = np.zeros(1 << 15, np.int64)
    upper = flat.view(np.uint32) >> 16
    for begin in range(0, flat.size, _SLICE):
        bins = upper[begin : begin + _SLICE] & 0x7FFF
        counts += np.bincount(bins, minlength=1 << 15)
    return counts


def profile(counts: npt.NDArray[np.int64], largest: float) -> Profile:
    """Make a profile of a histogram; bins without parameters at both ends are cut off."""
    bounds = (np.arange(_BINS + 1, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
    bounds[-1] = 2.0**128
    used = np.flatnonzero(counts)
    edges = bounds[used[0] : used[-1] + 2]
    found = counts[used[0] : used[-1] + 1].astype(np.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    count, first, second = (
        np.concatenate([[0.0], np.cumsum(found * middle**power)]) for power in range(3)
    )
    return Profile(edges, count, first, second, largest)


def bits(of: Profile, step: float, offset: int) -> float:
    """Return the bits that gaps, magnitudes and signs are expected to take."""
    below = np.interp(_thresholds(classes.BASES[1:], step, offset), of.edges, of.count)
    total = of.count[-1]
    counts = np.diff(below, append=total)
    nonzero = total - below[0]
    gaps = total * np.log2(total) - _entropy_sum(np.array([below[0], nonzero]))
    magnitudes = _entropy_sum(np.array([nonzero])) - _entropy_sum(counts)
    return float(gaps + magnitudes + nonzero + counts @ classes.WIDTHS[1:])


def squared_error(of: Profile, step: float, offset: int) -> float:
    """Return the expected ‖x − x̂‖² where every bin is decoded at its mean."""
    thresholds = _thresholds(np.arange(1, _RESOLVED + 1), step, offset)
    count, first, second = (
        np.interp(thresholds, of.edges, moment) for moment in (of.count, of.first, of.second)
    )
    inside = np.diff(count)
    kept = np.diff(first) ** 2 / np.where(inside > 0, inside, 1)
    fine = (of.second[-1] - second[-1]) - (of.count[-1] - count[-1]) * step**2 / 12
    return float(of.second[-1] - kept.sum() - fine)


def best(of: Profile, target_bits: float) -> tuple[float, int]:
    """Return the step δ and the offset θ·256 of least error among those that take `target_bits`.

    The rate stays below the target where even the smallest step does not need as much.
    """
    found = [(step_for(of, target_bits, offset), offset) for offset in OFFSETS]
    able = [each for each in found if bits(of, *each) <= 1.001 * target_bits] or found[:1]
    return min(able, key=lambda each: squared_error(of, *each))


def step_for(of: Profile, target_bits: float, offset: int) -> float:
    """Return the δ at which offset θ = offset/256 takes `target_bits`, or the smallest or largest step."""
    return _falls_to(
        lambda step: bits(of, step, offset), target_bits, of.smallest_step, of.largest_step(offset)
    )


@dataclass(frozen=True)
class Part:
    """A share of the parameters, quantised with step δ and offset θ·256, and ‖x − x̂‖² with the others 0."""

    step: float
    offset: int
    share: float
    error: float


def best_part(of: Profile, target_bits: float) -> Part:
    """Return the part of least error that the target allows: with few magnitudes that are all about
    alike. There a part of the parameters with their signs says more than the largest of them all, whose
    places cost most of the bits, and signs of all more than finer steps.
    """
    energy = of.second[-1]

    def part(step: float, offset: int) -> Part:
        share = min(1.0, target_bits / max(bits(of, step, offset), 1.0))
        left = energy - share * (energy - squared_error(of, step, offset))
        return Part(step, offset, share, float(left))

    grid = [(offset, at) for offset in OFFSETS[-3:] for at in range(_STEPS)]
    tried = [part(of.largest_step(offset) * 2.0 ** (-at / 2), offset) for offset, at in grid]
    return min(tried, key=lambda each: each.error)


def _thresholds(magnitudes: npt.NDArray[np.int64], step: float, offset: int) -> Float64Array:
    """Return the least |x| that fall into these bins, of which the first is 1."""
    thresholds = ((magnitudes - offset / 256) * step).astype(np.float64)
    if offset == SIGNS:
        thresholds[0] = _LEAST
    return thresholds


def _falls_to(rate: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Bisect the logarithm of the step; the rate falls as the step grows."""
    if rate(low) <= target:
        return low
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5 if low * high > 0 else low + (high - low) / 2
        low, high = (middle, high) if rate(middle) > target else (low, middle)
    return high


def _entropy_sum(counts: Float64Array) -> float:
    """Return Σ c·log2 c."""
    used = counts[counts > 0]
    return float(used @ np.log2(used))
