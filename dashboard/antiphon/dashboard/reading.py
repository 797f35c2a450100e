"""What is new in a journal, read beside the process that writes it.

Bytes are more than half of a large journal's events, and only their sums are shown: SQLite adds them up.
Every other event is decoded. Nothing is ever written, and no lock is held between two readings.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.core.errors import RunFolderError
from antiphon.core.journal import Entry, Journal, entry_of
from antiphon.core.run_folder import RunFolder

Way = tuple[int, str, str]
"""Round, direction and purpose of bytes."""

Fetched = tuple[int, int, str, int]
"""Bytes of a model: the entry's seq, the round, the client, and how many."""

_SUMS = (
    "SELECT json_extract(body, '$.round'), json_extract(body, '$.direction'),"
    " json_extract(body, '$.purpose'), sum(json_extract(body, '$.bytes')) FROM event"
    " WHERE kind = 'bytes_moved' AND seq > ? AND seq <= ? GROUP BY 1, 2, 3"
    " HAVING typeof(json_extract(body, '$.round')) = 'integer'"
)
_MODELS = (
    "SELECT seq, json_extract(body, '$.round'), json_extract(body, '$.client'),"
    " json_extract(body, '$.bytes') FROM event"
    " WHERE kind = 'bytes_moved' AND seq > ? AND seq <= ?"
    " AND json_extract(body, '$.purpose') = 'model'"
    " AND typeof(json_extract(body, '$.round')) = 'integer'"
    " AND typeof(json_extract(body, '$.bytes')) = 'integer' ORDER BY seq"
)
_BY_CLIENT = (
    "SELECT json_extract(body, '$.client'), json_extract(body, '$.direction'),"
    " sum(json_extract(body, '$.bytes')) FROM event WHERE kind = 'bytes_moved' GROUP BY 1, 2"
)


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
class Place:
    """How far a journal has been read: to the entry `seq`, and what stands there (time, kind, body)."""

    seq: int = 0
    row: tuple[float, str, str] | None = None


BEGINNING = Place()


@dataclass(frozen=True)
class News:
    """What was appended. entries: in order, without bytes; moved: bytes; place: the journal's end.

    models: bytes of models again, one by one, for what they were depends on the events around them.

    anew: it is another journal than the one that was read so far, and this is all of it: the folder was
    removed and made again, which may give the file its old number.
    """

    entries: tuple[Entry, ...]
    moved: Counter[Way]
    place: Place
    models: tuple[Fetched, ...] = ()
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


def read_news(path: Path, after: Place = BEGINNING) -> News:
    """Return what a journal holds beyond a place.

    Raises RunFolderError for a journal that is damaged, of a newer version, or gone.
    """
    with opened(path) as journal:
        start, end = place_to_begin(journal, after), place_at_end(journal)
        rows = journal.execute(
            "SELECT seq, at_s, kind, body FROM event"
            " WHERE seq > ? AND seq <= ? AND kind <> 'bytes_moved' ORDER BY seq",
            (start.seq, end.seq),
        )
        entries = tuple(entry_of(path, row) for row in rows)
        sums = _summed(journal, _SUMS, (start.seq, end.seq))
        moved = Counter({(number, way, what): size for number, way, what, size in sums})
        models = tuple(_summed(journal, _MODELS, (start.seq, end.seq)))
    return News(entries, moved, end, models, anew=start != after)


def place_to_begin(journal: sqlite3.Connection, after: Place) -> Place:
    """Return `after` if it is a place of this very journal, else its beginning."""
    return after if _place(journal, after.seq) == after else BEGINNING


def place_at_end(journal: sqlite3.Connection) -> Place:
    """Return how far there is anything to read now."""
    return _place(journal, journal.execute("SELECT max(seq) FROM event").fetchone()[0] or 0)


def read_span(path: Path, first: int, last: int) -> tuple[Entry, ...]:
    """Return the entries `first` to `last`, bytes too. Raises RunFolderError."""
    with opened(path) as journal:
        rows = journal.execute(
            "SELECT seq, at_s, kind, body FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq",
            (first, last),
        )
        return tuple(entry_of(path, row) for row in rows)


def bytes_by_client(path: Path) -> Counter[tuple[str, str]]:
    """Return the bytes of a run by client and direction (`up`, `down`). Raises RunFolderError."""
    with opened(path) as journal:
        sums = _summed(journal, _BY_CLIENT)
        return Counter({(client, way): size for client, way, size in sums})


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


def _summed(
    journal: sqlite3.Connection, query: str, values: tuple[int, ...] = ()
) -> list[tuple[Any, ...]]:
    """Run a query that takes text out of JSON, which may hold half a surrogate pair."""
    journal.text_factory = lambda content: content.decode("utf-8", errors="replace")
    return journal.execute(query, values).fetchall()


def _place(journal: sqlite3.Connection, seq: int) -> Place:
    query = "SELECT at_s, kind, body FROM event WHERE seq = ?"
    return Place(seq, journal.execute(query, (seq,)).fetchone())
