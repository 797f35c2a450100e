"""What is new in a journal, read beside the process that writes it.

Nothing is ever written, and no lock is held between two readings.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.errors import RunFolderError
from antiphon.core.journal import Entry, Journal, entry_of
from antiphon.core.run_folder import RunFolder


@dataclass(frozen=True)
class Stamp:
    """How a journal lies on the disk; another one after anything was written.

    file: its device and number there; size: bytes, the log that SQLite writes ahead included; changed_at:
    seconds since the Unix epoch.
    """

    file: tuple[int, int]
    size: int
    changed_at: float


@dataclass(frozen=True)
class Bookmark:
    """How far a journal has been read: to the entry `seq`, and what stands there (time, kind, body)."""

    seq: int = 0
    row: tuple[float, str, str] | None = None


BEGINNING = Bookmark()


@dataclass(frozen=True)
class News:
    """What was appended. entries: in order, read as they are asked for; place: the journal's end.

    anew: it is another journal than the one that was read so far, and this is all of it: the folder was
    removed and made again, which may give the file its old number.
    """

    entries: Iterator[Entry]
    place: Bookmark
    anew: bool = False


def stamp_of(folder: RunFolder) -> Stamp | None:
    """Return the stamp of a run's journal; none: there is none, or it is still without a byte."""
    try:
        main = folder.journal_file.stat()
    except OSError:
        return None
    size, changed_at = main.st_size, main.st_mtime
    try:
        ahead = folder.journal_file.with_name(f"{folder.journal_file.name}-wal").stat()
    except OSError:
        ahead = None  # SQLite removes it when the writer is done
    if ahead is not None and ahead.st_size:  # a reader makes an empty one, and that is no news
        size, changed_at = size + ahead.st_size, max(changed_at, ahead.st_mtime)
    return Stamp((main.st_dev, main.st_ino), size, changed_at) if size else None


@contextmanager
def news_of(path: Path, after: Bookmark = BEGINNING) -> Iterator[News]:
    """Give what a journal holds beyond a place, while it is open.

    Raises RunFolderError for a journal that is damaged, of a newer version, or gone.
    """
    with opened(path) as journal:
        start, end = place_to_begin(journal, after), place_at_end(journal)
        yield News(_between(path, journal, start.seq + 1, end.seq), end, anew=start != after)


def place_to_begin(journal: sqlite3.Connection, after: Bookmark) -> Bookmark:
    """Return `after` if it is a place of this very journal, else its beginning."""
    return after if _place(journal, after.seq) == after else BEGINNING


def place_at_end(journal: sqlite3.Connection) -> Bookmark:
    """Return how far there is anything to read now."""
    return _place(journal, journal.execute("SELECT max(seq) FROM event").fetchone()[0] or 0)


def read_span(path: Path, first: int, last: int) -> tuple[Entry, ...]:
    """Return the entries `first` to `last`. Raises RunFolderError."""
    with opened(path) as journal:
        return tuple(_between(path, journal, first, last))


def _between(path: Path, journal: sqlite3.Connection, first: int, last: int) -> Iterator[Entry]:
    rows = journal.execute(
        "SELECT seq, at_s, kind, body FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq",
        (first, last),
    )
    return (entry_of(path, row) for row in rows)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a journal for reading. Raises RunFolderError, also for what SQLite says inside the block."""
    Journal.reading(path).close()  # it tells a journal from another file, and knows its version
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            yield connection
        finally:
            connection.close()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise RunFolderError(
            f"cannot read {path} ({error}): it is damaged, or it was removed. Restore it from a copy, "
            "or choose another run"
        ) from error


def _place(journal: sqlite3.Connection, seq: int) -> Bookmark:
    query = "SELECT at_s, kind, body FROM event WHERE seq = ?"
    return Bookmark(seq, journal.execute(query, (seq,)).fetchone())
