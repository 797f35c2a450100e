"""Where fetched models and data sets are kept, and one writer at a time for each."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that ANTIPHON_CACHE names, else ~/.cache/antiphon."""
    named = environ.get("ANTIPHON_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "antiphon"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: a second process waits here, and then finds the work done.

    What an interrupted writer left half-written is removed first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for part in folder.glob(".*.part-*"):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        yield
