"""How many threads numpy's own OpenBLAS uses, for a while.

Several Python threads that each start as many BLAS threads as there are cores wait for each other,
spinning: a fold of many small matrices takes three to ten times as long.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

# OpenBLAS as numpy's wheels carry it, and as distributions build it.
_PATTERNS = (
    "scipy_openblas_{}_num_threads64_",
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads64_",
    "openblas_{}_num_threads",
)


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Let OpenBLAS use `count` threads in the whole process, and give back what it had.

    numpy on another library (MKL, Accelerate) is left as it is.
    """
    library = ctypes.CDLL(str(np.linalg._umath_linalg.__file__))
    known = (each for each in _PATTERNS if hasattr(library, each.format("set")))
    pattern = next(known, None)
    if pattern is None:
        yield
        return
    before = getattr(library, pattern.format("get"))()
    set_count = getattr(library, pattern.format("set"))
    set_count(count)
    try:
        yield
    finally:
        set_count(before)
