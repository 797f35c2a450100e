"""A run's journal: an append-only log of events in one SQLite file. The run *is* its journal.

One process writes (a lock file beside the journal says so), any number of others read meanwhile
(WAL). An append returns when the event is on the disk (synchronous FULL), so what was answered to a
client is never forgotten by a crash. Triggers refuse every change of what was written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from antiphon.core.errors import RunFolderError
from antiphon.core.event_json import decode, encode, kind_of
from antiphon.core.events import Event
from antiphon.core.files import full_disk_is_said, private_opener

VERSION = 1
"""Of the schema; a journal of a newer one is refused."""

_APPLICATION_ID = 0x416E7470  # "Antp": tells a journal from any other SQLite file
_DAMAGE = (
    sqlite3.DatabaseError,
    sqlite3.OperationalError,
    UnicodeDecodeError,  # of SQLite's own message, which quotes the file
)
_PAGE = 1000  # rows read at a time: a reader holds no long transaction and no whole journal

_SCHEMA = (
    "CREATE TABLE event (seq INTEGER PRIMARY KEY, at_s REAL NOT NULL, kind TEXT NOT NULL,"
    " body TEXT NOT NULL)",
    "CREATE TRIGGER event_no_update BEFORE UPDATE ON event"
    " BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
    "CREATE TRIGGER event_no_delete BEFORE DELETE ON event"
    " BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
    # INSERT OR REPLACE deletes without firing the trigger above.
    "CREATE TRIGGER event_no_replace BEFORE INSERT ON event"
    " WHEN EXISTS (SELECT 1 FROM event WHERE seq = NEW.seq)"
    " BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


@dataclass(frozen=True)
class Entry:
    """One row. seq: 1, 2, 3, … without a gap; at_s: seconds on the engine's clock."""

    seq: int
    at_s: float
    event: Event


class Journal:
    """An open journal. Use `writing` or `reading`; it is a context manager.

    It may be used from several threads, by one of them at a time.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: BinaryIO | None) -> None:
        """Take over an open connection, and the lock of a writer (None: reader)."""
        self.path = path
        self.sync = True
        self._connection = connection
        self._lock = lock

    @classmethod
    def writing(cls, path: Path, *, sync: bool = True) -> Self:
        """Open for appending; a new journal is made where there is none. Its folder must exist.

        sync: every commit is on the disk when it returns; else a power cut may cost the last ones, as a
        simulation can afford, which has told nobody of them. Raises RunFolderError if another writer has
        it open, if the file is no journal or of a newer version, or if the disk is full.
        """
        with _told(path):
            lock = _locked(path)
            try:
                journal = cls(path, _writer(path, sync), lock)
                journal.sync = sync
                return journal
            except BaseException:
                lock.close()
                raise

    @classmethod
    def reading(cls, path: Path) -> Self:
        """Open for reading only, also while a writer is at work. Raises RunFolderError."""
        if not path.is_file():
            raise RunFolderError(f"no journal at {path}: give the folder of a run")
        with _told(path):
            return cls(path, _reader(path), None)

    def append(self, event: Event, at_s: float) -> int:
        """Write one event and return its seq, once it is on the disk."""
        return self.append_many([event], at_s)

    def append_many(self, events: Iterable[Event], at_s: float) -> int:
        """Write all events or none of them; return the last seq of the journal, once on the disk.

        Raises RunFolderError if the disk is full; nothing was written then, and a later append may
        go through. Raises RunFolderError on a journal opened for reading.
        """
        if self._lock is None:
            raise RunFolderError(
                f"{self.path} is open for reading only: open it with Journal.writing"
            )
        rows = [(at_s, *encode(event)) for event in events]
        insert = "INSERT INTO event (at_s, kind, body) VALUES (?, ?, ?)"
        with _told(self.path), _transaction(self._connection):
            self._connection.executemany(insert, rows)
            last: int = self._connection.execute("SELECT max(seq) FROM event").fetchone()[0]
        return last or 0

    def read(self, after: int = 0, kinds: Iterable[type[Event]] = ()) -> Iterator[Entry]:
        """Yield the entries with seq > `after` in order, of these kinds only (none given: of all).

        Entries appended while this runs are read too. Raises RunFolderError for a damaged journal,
        or an event of a newer version.
        """
        names = [kind_of(each) for each in kinds]
        of_kinds = f"AND kind IN ({', '.join('?' * len(names))})" if names else ""
        query = (
            f"SELECT seq, at_s, kind, body FROM event WHERE seq > ? {of_kinds}"
            f" ORDER BY seq LIMIT {_PAGE}"
        )
        while rows := self._rows(query, (after, *names)):
            for seq, at_s, kind, body in rows:
                if seq <= after:  # a tree of pages that leads back to itself would be read for ever
                    raise RunFolderError(
                        f"{self.path} is damaged: entry {seq} stands after {after}"
                    )
                yield entry_of(self.path, (seq, at_s, kind, body))
                after = seq

    def close(self) -> None:
        """Close the file and give the lock back. Closing twice does no harm."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _rows(self, query: str, values: tuple[int | str, ...]) -> list[tuple[int, float, str, str]]:
        with _told(self.path):
            return self._connection.execute(query, values).fetchall()


def entry_of(path: Path, row: tuple[int, float, str, str]) -> Entry:
    """Return a row of a journal, decoded. Raises RunFolderError that names the journal and the row."""
    seq, at_s, kind, body = row
    try:
        return Entry(seq, at_s, decode(kind, body))
    except RunFolderError as error:
        raise RunFolderError(f"{path}, entry {seq}: {error}") from None


def writer_is_alive(path: Path) -> bool:
    """Say whether the process that took the journal's lock last is there, on this machine."""
    try:
        os.kill(int(_lock_of(path).read_text()), 0)
    except PermissionError:
        return True  # it is there, and somebody else's
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _locked(path: Path) -> BinaryIO:
    # flock, not POSIX locks: it also keeps out a second writer in the same process. The file stays:
    # removing it would let two writers lock two different files of one name.
    lock = open(_lock_of(path), "a+b", opener=private_opener)  # noqa: SIM115 (closed by the journal)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read(32).decode(errors="replace") or "unknown"
        lock.close()
        raise RunFolderError(
            f"another process (pid {holder}) is writing {path}: wait for it to end, or stop it"
        ) from None
    try:
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        lock.flush()
    except BaseException:
        lock.close()
        raise
    return lock


def _writer(path: Path, sync: bool) -> sqlite3.Connection:
    with open(path, "ab", opener=private_opener):  # SQLite gives its side files the same mode
        path.chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        if _is_empty(connection):
            with _transaction(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
        _check(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        _sync_folder(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection


def _reader(path: Path) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    try:
        _check(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_empty(connection: sqlite3.Connection) -> bool:
    objects: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return objects == 0


def _check(path: Path, connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise RunFolderError(
            f"{path} is a SQLite file, but no journal of a run: choose another path"
        )
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise RunFolderError(
            f"{path} was written by a newer Antiphon (journal version {version}, this one reads "
            f"up to {VERSION}): upgrade Antiphon to open it"
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the file into a RunFolderError; misuse of ours stays as it is."""
    try:
        with full_disk_is_said(path), _full_is_no_room():
            yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if type(error) not in _DAMAGE:
            raise
        raise RunFolderError(
            f"cannot use {path} as a journal ({error}): it is damaged, of another kind or not "
            "accessible. Restore it from a copy, or start the run anew"
        ) from error


@contextmanager
def _full_is_no_room() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        # Python raises some itself, for text that is not UTF-8, and those have no code.
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            raise
        raise OSError(errno.ENOSPC, str(error)) from error
