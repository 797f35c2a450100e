"""How much a coordinator may put on this site's disk: a model of the run, where room is left after it.

What a run trains is known here, from the base model; a global model is made of the same shapes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from antiphon.v1 import coordinator_pb2

FreeBytes = Callable[[Path], int]

_BESIDE = 1 << 20  # names, shapes, an envelope
_FLOAT = 4
_OVER = 1.1
_MB = 1_000_000


class DownloadTooLarge(Exception):
    """A download would be too large for the disk; the message says by how much."""


def most_download_bytes(space: coordinator_pb2.SpaceReport, told: int | None) -> int:
    """Return the bytes that a global model of a run can have. space: what the run trains, as found here.

    told: what the trainer says that it can have, none: as many as the tensors. What follows from a
    number of the run's config is bounded by what the weights themselves would take.
    """
    numbers = sum(each.rows * each.columns for each in (*space.factors, *space.weights))
    dense = int(_OVER * _FLOAT * numbers)
    if told is None:
        return _BESIDE + dense
    return _BESIDE + min(int(_OVER * told), max(dense, 64 * _BESIDE))


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that a folder lies on, or will lie on."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def check_room(file: Path, size: int, floor_mb: float, free: FreeBytes) -> None:
    """Raise NoRoom where a file of `size` bytes would leave less than `floor_mb` MB of the disk free.

    What has arrived of it already, in `file`.part, takes no more room.
    """
    part = file.with_name(f"{file.name}.part")
    missing = max(0, size - (part.stat().st_size if part.exists() else 0))
    left = free(file.parent) - missing
    if left < floor_mb * _MB:
        raise DownloadTooLarge(
            f"a model of {size / _MB:.1f} MB would leave {left / _MB:.0f} MB of the disk free, expected "
            f"{floor_mb:.0f} MB (free_disk_floor_mb): make room, or lower the floor"
        )
