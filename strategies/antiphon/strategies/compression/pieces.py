"""A long vector in pieces that are worked on apart: the unit of a thread, and of the coded stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CHUNK = 1 << 22
_MOST_THREADS = 4  # each needs memory for its own chunk

Given = TypeVar("Given")
Made = TypeVar("Made")


def bounds(n: int) -> list[tuple[int, int]]:
    """Cut n parameters into chunks of nearly equal size, 2²² at most."""
    pieces = -(-n // CHUNK)
    return [(n * i // pieces, n * (i + 1) // pieces) for i in range(pieces)]


def in_threads(work: Callable[[Given], Made], items: Iterable[Given]) -> list[Made]:
    """Map in threads, in order: numpy's loops over long arrays leave the interpreter to others."""
    listed = list(items)
    if len(listed) < 2:
        return [work(item) for item in listed]
    with ThreadPoolExecutor(min(len(listed), os.cpu_count() or 1, _MOST_THREADS)) as pool:
        return list(pool.map(work, listed))
