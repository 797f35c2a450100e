"""Updates that wait for a final answer: on the disk before they are sent, there until they are answered.

A daemon that is killed, or cut off for days, sends the same bytes again. The index is an SQLite file
(write-ahead log, synchronous FULL); tensors lie beside it as files named by their SHA-256, whole or not
there. Also kept: how many bytes have left the machine on each day, for the site's policy.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import structlog

from antiphon.core import fault_points
from antiphon.core.blob import Blob
from antiphon.core.files import link_whole, written_whole
from antiphon.core.home import private_folder

log = structlog.get_logger()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    run_id TEXT NOT NULL, round INTEGER NOT NULL, message BLOB NOT NULL,
    sha256 TEXT, bytes INTEGER, encoding TEXT,
    PRIMARY KEY (run_id, round)
);
CREATE TABLE IF NOT EXISTS sent (day TEXT PRIMARY KEY, bytes INTEGER NOT NULL);
"""
_COLUMNS = "run_id, round, message, sha256, bytes, encoding"
_DAYS_KEPT = 31


@dataclass(frozen=True)
class Entry:
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
        """
        self._blobs = private_folder(private_folder(folder) / "blobs")
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._db = sqlite3.connect(
            folder / "outbox.sqlite",
            isolation_level=None,
            check_same_thread=False,  # `add` is called off the event loop; never two calls at once
        )
        os.chmod(folder / "outbox.sqlite", 0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._remove_orphans()

    def close(self) -> None:
        """Close the files."""
        self._db.close()

    def add(self, entry: Entry, content: Path | None) -> None:
        """Keep an update from now on; it is on the disk when this returns.

        content: the file of its blob, which is taken over. An update of the same round is replaced.
        Raises RunFolderError where the disk is full.
        """
        if entry.blob is not None and content is not None:
            _take_over(content, self.path_of(entry.blob))
        blob = entry.blob or Blob("", 0, "")
        row = (entry.run_id, entry.round, entry.message, blob.sha256, blob.bytes, blob.encoding)
        self._db.execute(f"INSERT OR REPLACE INTO entry ({_COLUMNS}) VALUES (?,?,?,?,?,?)", row)
        fault_points.reached("outbox written")
        self._make_room(entry.run_id)
        self._remove_orphans()

    def remove(self, run_id: str, number: int) -> None:
        """Forget an update: it has a final answer."""
        self._db.execute("DELETE FROM entry WHERE run_id = ? AND round = ?", (run_id, number))
        fault_points.reached("outbox cleared")
        self._remove_orphans()

    def entries(self) -> list[Entry]:
        """Return what waits, the oldest first."""
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM entry ORDER BY rowid").fetchall()
        return [
            Entry(run_id, number, message, Blob(sha256, size, encoding) if sha256 else None)
            for run_id, number, message, sha256, size, encoding in rows
        ]

    def holds(self, run_id: str, number: int) -> bool:
        """Whether an update of this round waits."""
        found = self._db.execute(
            "SELECT 1 FROM entry WHERE run_id = ? AND round = ?", (run_id, number)
        )
        return found.fetchone() is not None

    def path_of(self, blob: Blob) -> Path:
        """Return where the content of an entry's blob lies."""
        return self._blobs / blob.sha256

    def note_sent(self, day: str, size: int) -> None:
        """Add bytes to what has left the machine on a day (YYYY-MM-DD)."""
        self._db.execute(
            "INSERT INTO sent VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET bytes = bytes + excluded.bytes",
            (day, size),
        )
        self._db.execute(
            "DELETE FROM sent WHERE day NOT IN (SELECT day FROM sent ORDER BY day DESC LIMIT ?)",
            (_DAYS_KEPT,),
        )

    def sent_on(self, day: str) -> int:
        """Return the bytes that have left the machine on a day (YYYY-MM-DD)."""
        row = self._db.execute("SELECT bytes FROM sent WHERE day = ?", (day,)).fetchone()
        return int(row[0]) if row else 0

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
            self._db.execute(
                "DELETE FROM entry WHERE run_id = ? AND round = ?", (dropped.run_id, dropped.round)
            )

    def _remove_orphans(self) -> None:
        named = {row[0] for row in self._db.execute("SELECT sha256 FROM entry")}
        for path in self._blobs.iterdir():
            if path.name not in named:
                path.unlink()


def _size(entry: Entry) -> int:
    return len(entry.message) + (entry.blob.bytes if entry.blob else 0)


def _take_over(content: Path, path: Path) -> None:
    """Give a file the name `path`, without a copy where both lie on one file system."""
    try:
        link_whole(content, path)
    except OSError:
        with written_whole(path) as part:
            shutil.copyfile(content, part)
    content.unlink()
