"""The ledger's tables, and how its file is opened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from antiphon.core.home import private_folder
from antiphon.core.identity import IdentityError

VERSION = 1
"""Of the schema; a ledger of a newer one is refused."""

_APPLICATION_ID = 0x416E7466  # "Antf": tells a ledger from any other SQLite file
_BUSY_S = 15.0

_SCHEMA = (
    "CREATE TABLE token (id TEXT PRIMARY KEY, secret_hash BLOB NOT NULL, name TEXT NOT NULL,"
    " uses INTEGER NOT NULL, uses_left INTEGER NOT NULL, expires_at REAL NOT NULL)",
    "CREATE TABLE redemption (token TEXT NOT NULL, key_hash BLOB NOT NULL, client TEXT NOT NULL,"
    " serial TEXT NOT NULL, certificate BLOB NOT NULL, PRIMARY KEY (token, key_hash))",
    "CREATE TABLE certificate (serial TEXT PRIMARY KEY, client TEXT NOT NULL, key_hash BLOB NOT NULL,"
    " not_before REAL NOT NULL, not_after REAL NOT NULL, revoked_at REAL)",
    "CREATE INDEX certificate_of ON certificate (client, not_after)",
    "CREATE TABLE client (name TEXT PRIMARY KEY, enrolled_at REAL NOT NULL, last_seen REAL,"
    " facts TEXT NOT NULL DEFAULT '{}', revoked_at REAL)",
    "CREATE TABLE numbering (name TEXT PRIMARY KEY, last INTEGER NOT NULL)",
    "CREATE TABLE refusals (changes INTEGER NOT NULL)",
    "INSERT INTO refusals VALUES (0)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


def opened(path: Path, *, new: bool) -> sqlite3.Connection:
    """Open a ledger for one process; several may do so at once.

    new: an empty one is made where there is none. Raises IdentityError where the file is no ledger or of a
    newer version, or where it is not there and is not to be made.
    """
    private_folder(path.parent)
    if not new and (not path.exists() or path.stat().st_size == 0):
        raise IdentityError(_lost(path))
    os.close(
        os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    )  # SQLite gives its side files the same mode
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S
    )
    try:
        _prepare(path, connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise IdentityError(
            f"cannot use {path} as the fleet's ledger ({error}): it is damaged. Restore it from a copy; "
            "without one, move it away and begin an empty one with `antiphon ca new-ledger`"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _lost(path: Path) -> str:
    what = "empty" if path.exists() else "missing"
    return (
        f"the fleet's ledger is lost: {path} is {what}. Restore it from a copy. Without one, `antiphon ca "
        "new-ledger` begins an empty one: it knows no client, and every one must join anew"
    )


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        _run(connection, _SCHEMA)
    connection.execute("COMMIT")
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise IdentityError(
            f"{path} is a SQLite file, but no fleet's ledger: choose another --home"
        )
    if connection.execute("PRAGMA user_version").fetchone()[0] > VERSION:
        raise IdentityError(f"{path} was written by a newer Antiphon: upgrade Antiphon to open it")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _run(connection: sqlite3.Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.execute(statement)
