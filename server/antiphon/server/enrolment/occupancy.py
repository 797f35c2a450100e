"""One coordinator at a time on a fleet: a lock in its folder, which also tells where its run lies.

`antiphon token` and `antiphon clients` do not take it: they work beside a coordinator.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from antiphon.core.errors import UserError
from antiphon.core.json_text import json_text


@contextmanager
def occupied(folder: Path) -> Iterator[Callable[[Path], None]]:
    """Keep every other coordinator off the fleet in `folder`; the block is given what notes its run.

    The lock goes with the process, however it ends. Raises UserError where another one has it.
    """
    # The file stays: removing it would let two processes lock two different files of one name.
    with os.fdopen(os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another coordinator is at work on the fleet in {folder} ({_said_by(lock.read())}): "
                "stop it, or give this one a home of its own with --home"
            ) from None

        def note(run: Path) -> None:
            lock.seek(0)
            lock.truncate()
            lock.write(json_text({"pid": os.getpid(), "run": str(run.resolve())}))
            lock.flush()

        yield note


def run_at_work(folder: Path) -> Path | None:
    """Return the folder of the run that the fleet's last coordinator worked on; none: not known."""
    try:
        return Path(json.loads(_lock_of(folder).read_text())["run"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _said_by(text: str) -> str:
    try:
        told = json.loads(text)
        return f"pid {told['pid']}, run {told['run']}"
    except (ValueError, LookupError, TypeError):
        return "it has just begun"


def _lock_of(folder: Path) -> Path:
    return folder / "coordinator.lock"
