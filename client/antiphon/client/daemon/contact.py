"""When the coordinator last answered, as the time of a file: for who asks beside the daemon."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_EVERY_S = 5.0


class Contact:
    """Writes it down, every few seconds at most."""

    def __init__(self, client: Path, now: Callable[[], float]) -> None:
        """client: `client/` of the home folder; now: seconds of any clock."""
        self._file, self._now = contact_file(client), now
        self._noted = float("-inf")

    def heard(self) -> None:
        """The coordinator has answered. A disk that is full loses this and nothing else."""
        if self._now() - self._noted >= _EVERY_S:
            self._noted = self._now()
            with suppress(OSError):
                self._file.touch(mode=0o600)


def contact_file(client: Path) -> Path:
    """Return the file whose time of change is that of the last answer."""
    return client / "contact"


def last_contact(client: Path) -> float | None:
    """Return when the coordinator last answered, seconds since the Unix epoch; none: never."""
    try:
        return contact_file(client).stat().st_mtime
    except OSError:
        return None
