"""The property: any bytes give a value or a documented error, in memory that the input's size bounds."""

from __future__ import annotations

import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.target import Target

_FREE_BYTES = 64 << 20
_BYTES_PER_BYTE = 40


class TooMuchMemory(AssertionError):
    """A decoder has taken more memory than its input's size allows."""


def allowed_bytes(size: int) -> int:
    """Return how much memory the decoding of `size` bytes may take."""
    return _FREE_BYTES + _BYTES_PER_BYTE * size


def judge(target: Target, content: bytes) -> None:
    """Decode; whatever is not documented comes out as it was raised."""
    try:
        target.decode(content)
    except target.errors as error:
        str(error)  # an error is there to be read


def judge_traced(target: Target, content: bytes) -> None:
    """Decode, and measure what Python and numpy allocate. Raises TooMuchMemory."""
    tracemalloc.start()
    try:
        judge(target, content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if peak > allowed_bytes(len(content)):
        raise TooMuchMemory(f"{peak / 1e6:.0f} MB for {len(content)} bytes")


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Let this process grow by as much as `size` bytes of input allow, native allocations too.

    What would grow further meets MemoryError, or the end of the process.
    """
    pages = int(Path("/proc/self/statm").read_bytes().split(maxsplit=1)[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + allowed_bytes(size), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))
