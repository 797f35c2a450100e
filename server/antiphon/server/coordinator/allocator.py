"""glibc's allocator, told to give back what a process of many large, short-lived buffers has let go.

By itself it keeps an arena for each thread and raises the size above which memory is returned at once:
after a round of uploads, a third of a coordinator's memory was free memory that nobody else could use.
"""

from __future__ import annotations

import ctypes

# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Below the smallest matrix worth giving back; above a part of a transfer, whose pages would be mapped anew
# each time: that halves the throughput.
_LARGE_BYTES = 4 << 20


def return_memory_at_once() -> bool:
    """Return large buffers to the system as soon as they are freed; False where this is not glibc."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    wanted = (
        (_M_MMAP_THRESHOLD, _LARGE_BYTES),
        (_M_TRIM_THRESHOLD, _LARGE_BYTES),
        (_M_ARENA_MAX, 2),
    )
    return all(mallopt(option, value) == 1 for option, value in wanted)
