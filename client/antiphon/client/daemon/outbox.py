"""Updates that wait for a final answer: on the disk before they are sent, there until they are answered.

A daemon that is killed, or cut off for days, sends the same bytes again. The index is an SQLite file
(write-ahead log, synchronous FULL); tensors lie beside it as files named by their SHA-256, whole or not
there. Also kept: how many bytes have left the machine on each day, for the site's policy.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from antiphon.core import fault_points
from antiphon.core.blob import Blob
from antiphon.core.errors import RunFolderError
from antiphon.core.files import link_whole, written_whole
from antiphon.core.home import private_folder

log = structlog.get_logger()

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS entry ("
    " run_id TEXT NOT NULL, round INTEGER NOT NULL, message BLOB NOT NULL,"
    " sha256 TEXT, bytes INTEGER, encoding TEXT,"
    " PRIMARY KEY (run_id, round))",
    "CREATE TABLE IF NOT EXISTS sent (day TEXT PRIMARY KEY, bytes INTEGER NOT NULL)",
)
_SHA256 = re.compile(r"([0-9a-f]{64})?")
_COLUMNS = "run_id, round, message, sha256, bytes, encoding"
_DAYS_KEPT = 31


@dataclass(frozen=True)
class Queued:
    """One update. message: a serialised antiphon.v1.Update; blob: what it names, if anything."""

    run_id: str
    round: int
    message: bytes
    blob: Blob | None


class Outbox:
    """The updates of one client, in a folder of its own."""

    def __init__(
        self, folder: Path, *, max_entries: int = 32, max_bytes: int = 16_000_000_000
    ) -> None:
        """Open or create it, and remove what a kill has left half done.

        max_entries, max_bytes: of what is kept; beyond them the oldest updates of other runs are dropped.
        Raises RunFolderError, as every method does, where the file is damaged or the disk is full.
        """
        self._blobs = private_folder(private_folder(folder) / "blobs")
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._file = folder / "outbox.sqlite"
        self._db = sqlite3.connect(
            self._file,
            isolation_level=None,
            check_same_thread=False,  # `add` is called off the event loop; never two calls at once
        )
        try:
            os.chmod(self._file, 0o600)
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", *_SCHEMA):
                self._done(statement)
            self._remove_orphans()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the files."""
        self._db.close()

    def add(self, entry: Queued, content: Path | None) -> None:
        """Keep an update from now on; it is on the disk when this returns.

        content: the file of its blob, which is taken over. An update of the same round is replaced.
        """
        if entry.blob is not None and content is not None:
            _take_over(content, self.path_of(entry.blob))
        blob = entry.blob or Blob("", 0, "")
        row = (entry.run_id, entry.round, entry.message, blob.sha256, blob.bytes, blob.encoding)
        self._done(f"INSERT OR REPLACE INTO entry ({_COLUMNS}) VALUES (?,?,?,?,?,?)", row)
        fault_points.reached("outbox written")
        self._make_room(entry.run_id)
        self._remove_orphans()

    def remove(self, run_id: str, number: int) -> None:
        """Forget an update: it has a final answer."""
        self._done("DELETE FROM entry WHERE run_id = ? AND round = ?", (run_id, number))
        fault_points.reached("outbox cleared")
        self._remove_orphans()

    def entries(self) -> list[Queued]:
        """Return what waits, the oldest first."""
        return [
            self._entry(row) for row in self._done(f"SELECT {_COLUMNS} FROM entry ORDER BY rowid")
        ]

    def holds(self, run_id: str, number: int) -> bool:
        """Whether an update of this round waits."""
        query = "SELECT 1 FROM entry WHERE run_id = ? AND round = ?"
        return bool(self._done(query, (run_id, number)))

    def path_of(self, blob: Blob) -> Path:
        """Return where the content of an entry's blob lies."""
        return self._blobs / blob.sha256

    def note_sent(self, day: str, size: int) -> None:
        """Add bytes to what has left the machine on a day (YYYY-MM-DD)."""
        self._take_back(day)
        self._add_sent(day, size)
        self._done(
            "DELETE FROM sent WHERE day NOT IN (SELECT day FROM sent ORDER BY day DESC LIMIT ?)",
            (_DAYS_KEPT,),
        )

    def sent_on(self, day: str) -> int:
        """Return the bytes that have left the machine on a day (YYYY-MM-DD).

        Those of later days are among them from now on: the clock was set back, and no day is given twice.
        """
        self._take_back(day)
        rows = self._done("SELECT bytes FROM sent WHERE day = ?", (day,))
        return _sum(rows)

    def _take_back(self, day: str) -> None:
        """Count what left on later days on this one."""
        if later := self._done("SELECT bytes FROM sent WHERE day > ?", (day,)):
            self._add_sent(day, _sum(later))
            self._done("DELETE FROM sent WHERE day > ?", (day,))

    def _add_sent(self, day: str, size: int) -> None:
        self._done(
            "INSERT INTO sent VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET bytes = bytes + excluded.bytes",
            (day, size),
        )

    def _make_room(self, run_id: str) -> None:
        """Drop the oldest updates of other runs while there is too much."""
        entries = self.entries()
        strangers = [each for each in entries if each.run_id != run_id]
        size = sum(_size(each) for each in entries)
        count = len(entries)
        while strangers and (count > self._max_entries or size > self._max_bytes):
            dropped = strangers.pop(0)
            size, count = size - _size(dropped), count - 1
            log.warning(
                "outbox full: an update is dropped", run=dropped.run_id, round=dropped.round
            )
            self._done(
                "DELETE FROM entry WHERE run_id = ? AND round = ?", (dropped.run_id, dropped.round)
            )

    def _remove_orphans(self) -> None:
        named = {row[0] for row in self._done("SELECT sha256 FROM entry")}
        for path in self._blobs.iterdir():
            if path.name not in named:
                path.unlink()

    def _done(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Carry out one statement and return its rows."""
        try:
            return self._db.execute(statement, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # its own message may be broken text
            raise RunFolderError(
                f"cannot use {self._file} ({error}): free some space if the disk is full; if the file "
                "is damaged, move its folder away (the updates in it are lost) and start again"
            ) from error

    def _entry(self, row: tuple[Any, ...]) -> Queued:
        run_id, number, message, sha256, size, encoding = row
        kinds = [type(each) for each in row]
        if kinds != [str, int, bytes, str, int, str] or not _SHA256.fullmatch(sha256):
            raise RunFolderError(
                f"{self._file} is damaged: it holds an update that cannot be. Move its folder away (the "
                "updates in it are lost) and start again"
            )
        return Queued(run_id, number, message, Blob(sha256, size, encoding) if sha256 else None)


def _sum(rows: list[tuple[Any, ...]]) -> int:
    return sum(row[0] for row in rows if type(row[0]) is int)


def _size(entry: Queued) -> int:
    return len(entry.message) + (entry.blob.bytes if entry.blob else 0)


def _take_over(content: Path, path: Path) -> None:
    """Give a file the name `path`, without a copy where both lie on one file system."""
    try:
        link_whole(content, path)
    except OSError:
        with written_whole(path) as part:
            shutil.copyfile(content, part)
    content.unlink()


@dataclass(frozen=True)
class Waiting:
    """What another process sees of an outbox.

    updates: run, round and bytes of each that waits; sent: bytes that have left on a day.
    """

    updates: tuple[tuple[str, int, int], ...] = ()
    sent: int = 0


def look_into(folder: Path, day: str) -> Waiting:
    """Read an outbox that a daemon may be at work in; nothing is changed. day: YYYY-MM-DD.

    Raises RunFolderError where it cannot be read.
    """
    file = folder / "outbox.sqlite"
    if not file.exists():
        return Waiting()
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT run_id, round, length(message) + bytes FROM entry ORDER BY rowid"
            ).fetchall()
            sent = db.execute("SELECT bytes FROM sent WHERE day = ?", (day,)).fetchone()
    except sqlite3.Error as error:
        raise RunFolderError(f"cannot read {file} ({error})") from None
    return Waiting(tuple(rows), sent[0] if sent else 0)
