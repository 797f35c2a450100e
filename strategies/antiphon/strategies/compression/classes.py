"""Integers of any size as a small alphabet: a class, coded, and raw bits within the class.

0 to 15 are classes of their own; above, every octave is four classes: class 16 + 4(e − 4) + s holds the
values whose highest bit is e and whose next two bits are s, and the e − 2 bits below are sent as they are.
With `shift` the lowest bits of every value are raw: for gaps of hundreds the alphabet stays short.
The density within a class is close to flat, so that the raw bits cost less than 0.02 bits too many.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from antiphon.strategies.compression.bits import Integers

Classes = npt.NDArray[np.uint8]

DIRECT = 16
LARGEST_BITS = 24  # values stay below 2²⁴
COUNT = DIRECT + 4 * (LARGEST_BITS - 4)


def _tables() -> tuple[Integers, Classes]:
    octave, part = np.divmod(np.arange(COUNT - DIRECT), 4)
    base = np.concatenate([np.arange(DIRECT), (4 + part) << (octave + 2)])
    width = np.concatenate([np.zeros(DIRECT, np.int64), octave + 2])
    return base, width.astype(np.uint8)


BASES, WIDTHS = _tables()


def classify(values: Integers) -> Classes:
    """Return the class of every value below 2²⁴."""
    classes = values.astype(np.uint8)
    large = np.flatnonzero(values >= DIRECT)
    if large.size:
        found = values.take(large)
        exponent = np.frexp(found.astype(np.float64))[1] - 1  # exact: the place of the highest bit
        classes[large] = 4 * exponent + ((found >> (exponent - 2)) & 3)
    return classes


def wide(classes: Classes, shift: int) -> tuple[Integers, Classes]:
    """Return which values have raw bits, and how many."""
    if shift:
        return np.arange(classes.size), WIDTHS.take(classes) + np.uint8(shift)
    at = np.flatnonzero(classes >= DIRECT)
    return at, WIDTHS.take(classes.take(at))
