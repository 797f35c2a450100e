"""Module after module, on every core: modules do not know of each other, so that threads change no bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from antiphon.core.types import Params
from antiphon.strategies.aggregation.adapter import A_SUFFIX, B_SUFFIX, modules
from antiphon.strategies.aggregation.contribution import Contribution

Result = TypeVar("Result")

# What the modules in work may hold together, where one alone does not hold more.
_WORKING_BYTES = 64 << 20


def for_each_module(
    start: Params, contributions: Sequence[Contribution], fold: Callable[[str], Result]
) -> list[Result]:
    """Return fold(module) of each module of `start`, sorted; the first error in that order is raised.

    numpy lets go of the interpreter in matrix products and decompositions, so that threads help. A
    cohort whose matrices are large has fewer modules in work at once: memory does not grow with it.
    """
    names = modules(start)
    largest = max((_working_bytes(start, each, contributions) for each in names), default=0)
    cores = _cores()
    threads = max(1, min(cores, _WORKING_BYTES // max(1, largest)))
    # Threads that each start as many BLAS threads as there are cores wait for each other, spinning.
    with (
        threadpool_limits(max(1, cores // threads), user_api="blas"),
        ThreadPoolExecutor(threads) as pool,
    ):
        return list(pool.map(fold, names))


def _cores() -> int:
    # Those that this process may use; not every system says.
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def _working_bytes(start: Params, module: str, contributions: Sequence[Contribution]) -> int:
    # Factors side by side in float64 and as received in float32; some six matrices of the core's size.
    d_out, d_in = len(start[module + B_SUFFIX]), int(start[module + A_SUFFIX].shape[1])
    rank = sum(len(each.start[module + A_SUFFIX]) for each in contributions)
    return 12 * rank * (d_out + d_in) + 6 * 8 * rank**2
