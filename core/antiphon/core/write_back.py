"""Writing begins before anybody waits for it: what a later fsync finds on the disk takes it no time.

By itself the system keeps what is written in memory for seconds, so that the fsync at the end of a long
upload would wait for all of it, while the disk had nothing to do as it arrived.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

_SYNC_FILE_RANGE_WRITE = 2  # of linux/fs.h: begin, and wait for nothing


def begin(descriptor: int, offset: int, size: int) -> None:
    """Let the system begin to write `size` bytes of a file from `offset` on; it promises nothing.

    Does nothing where the system is not Linux, or refuses.
    """
    if (call := _sync_file_range()) is not None:
        call(descriptor, offset, size, _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        call = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call
