"""Who is in the fleet: tokens, certificates and clients, in one SQLite file (`fleet.sqlite`).

Several processes use it at once: the command line beside a running coordinator. What is refused is refused
by a transaction of this file and nothing else. A change is on the disk when its method returns (WAL, FULL).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.errors import AntiphonError
from antiphon.core.identity import IdentityError, checked_name
from antiphon.core.json_text import json_text
from antiphon.server.enrolment.schema import opened

MOST_CERTIFICATES = 16
"""Certificates that count for one client: its newest. A client that renews in a loop fills no disk."""

_COUNTED = 8  # characters that a token of several uses may add to its name


class TokenRefused(AntiphonError):
    """The token is unknown, wrong, used up or expired. Which of them is not said."""


class ClientRefused(AntiphonError):
    """The client is revoked, or not in the ledger."""


@dataclass(frozen=True)
class NewToken:
    """A join token. expires_at: seconds since the Unix epoch; only the secret's SHA-256 is kept."""

    id: str
    secret: str
    name: str
    uses: int
    expires_at: float


@dataclass(frozen=True)
class Issued:
    """A certificate as the ledger keeps it. Times: seconds since the Unix epoch; der: the leaf."""

    serial: str
    key_hash: bytes
    not_before: float
    not_after: float
    der: bytes


@dataclass(frozen=True)
class FleetMember:
    """A client of the fleet. Times: seconds since the Unix epoch; facts: what it said of itself.

    last_seen: its last call to the coordinator or for a certificate; none: in a ledger of version 0.2.
    """

    name: str
    enrolled_at: float
    last_seen: float | None
    certificate_until: float | None
    revoked_at: float | None
    facts: Mapping[str, object]


class Ledger:
    """An open ledger; may be used from several threads. Close it in the end."""

    def __init__(self, path: Path, *, new: bool = False) -> None:
        """Open the ledger. new: an empty one is made where there is none.

        Raises IdentityError where the file is lost (and not to be made), no ledger, or of a newer version.
        """
        self._lock = threading.Lock()
        self._connection = opened(path, new=new)
        # Tells of changes by others only: what never writes hears of every change, also of this process.
        self._watch = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
            self._watch.close()

    def add_token(self, token: NewToken) -> None:
        """Let machines join with this token. A revoked client of its name may come back with it.

        Raises IdentityError for a name, a number of uses or a length that cannot be.
        """
        checked_name(token.name, "the client")
        if token.uses < 1:
            raise IdentityError(f"a token of {token.uses} uses: give --uses 1 or more")
        if token.uses > 1 and len(token.name) > 64 - _COUNTED:
            raise IdentityError(
                f"{token.name!r} is too long for a token of several uses, which adds -1, -2, … to it: "
                f"{64 - _COUNTED} characters at most"
            )
        row = (token.id, _hash(token.secret), token.name, token.uses, token.uses, token.expires_at)
        with self._transaction() as do:
            do.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?, ?)", row)
            do.execute("UPDATE client SET revoked_at = NULL WHERE name = ?", (token.name,))
            _changed(do)

    def redeem(
        self,
        token_id: str,
        secret: str,
        key_hash: bytes,
        now: float,
        issue: Callable[[str], Issued],
    ) -> tuple[str, bytes]:
        """Exchange a use of a token for a certificate; return the client's name and the leaf, DER.

        `issue` signs for the name that it is given. The same token with the same key gives the same answer
        as long as the token lives. A token of one use gives its NAME, and ends what certificates NAME had:
        one name is one machine. A token of more uses gives NAME-1, NAME-2, …. Raises TokenRefused.
        """
        with self._transaction() as do:
            again = _redeemed(do, (token_id, _hash(secret), key_hash, now))
            if again is not None:
                return again
            name, uses = _use(do, (token_id, _hash(secret), now))
            client = name if uses == 1 else _numbered(do, name)
            _end_certificates(do, client, now)
            issued = issue(client)
            _record(do, client, issued, now)
            row = (token_id, key_hash, client, issued.serial, issued.der)
            do.execute("INSERT INTO redemption VALUES (?, ?, ?, ?, ?)", row)
            return client, issued.der

    def renew(self, client: str, now: float, issue: Callable[[], Issued]) -> bytes:
        """Give a client of the fleet another certificate, DER. Raises ClientRefused if it is revoked."""
        with self._transaction() as do:
            row = do.execute("SELECT revoked_at FROM client WHERE name = ?", (client,)).fetchone()
            if row is None or row[0] is not None:
                raise ClientRefused(f"the client {client} is revoked: it needs a new join token")
            issued = issue()
            _record(do, client, issued, now)
            return issued.der

    def revoke(self, name: str, now: float) -> None:
        """Refuse a client, all its certificates and the unused tokens of its name from now on.

        A new token for the name lets it come back, with a new certificate. Raises IdentityError where
        neither a client nor a token has this name.
        """
        with self._transaction() as do:
            tokens = do.execute("UPDATE token SET uses_left = 0 WHERE name = ?", (name,)).rowcount
            revoke = "UPDATE client SET revoked_at = coalesce(revoked_at, ?) WHERE name = ?"
            if do.execute(revoke, (now, name)).rowcount + tokens == 0:
                raise IdentityError(f"no client {name[:80]!r}: `antiphon clients list` shows them")
            _end_certificates(do, name, now)
            _changed(do)

    def is_revoked(self, serial: str, client: str) -> bool:
        """Tell whether a certificate (serial: hex) is refused: revoked, or none that this ledger knows."""
        with self._lock:
            row = self._connection.execute(
                "SELECT certificate.revoked_at IS NOT NULL OR client.revoked_at IS NOT NULL"
                " FROM certificate JOIN client ON client.name = certificate.client"
                " WHERE serial = ? AND client.name = ?",
                (serial, client),
            ).fetchone()
        return row is None or bool(row[0])

    def data_version(self) -> int:
        """Return a number that differs after any change of the file by anybody. Costs microseconds."""
        with self._lock:
            version: int = self._watch.execute("PRAGMA data_version").fetchone()[0]
        return version

    def refusals_version(self) -> int:
        """Return a number that differs after anything was revoked, ended or allowed again."""
        with self._lock:
            row = self._connection.execute("SELECT changes FROM refusals").fetchone()
        changes: int = row[0]
        return changes

    def saw(self, signs: Mapping[str, tuple[float, Mapping[str, object]]]) -> None:
        """Note when clients called last, and what they say of themselves (empty: as before)."""
        rows = [
            (name, at, at, json_text(facts, sort_keys=True) if facts else None)
            for name, (at, facts) in signs.items()
        ]
        upsert = (
            "INSERT INTO client (name, enrolled_at, last_seen, facts)"
            " VALUES (?1, ?2, ?3, coalesce(?4, '{}')) ON CONFLICT (name)"
            " DO UPDATE SET last_seen = ?3, facts = coalesce(?4, facts)"
        )
        with self._transaction() as do:
            do.executemany(upsert, rows)

    def clients(self) -> list[FleetMember]:
        """Return everybody who ever joined, by name."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT name, enrolled_at, last_seen, (SELECT max(not_after) FROM certificate"
                " WHERE certificate.client = client.name), revoked_at, facts FROM client ORDER BY name"
            ).fetchall()
        return [
            FleetMember(name, joined, seen, until, revoked, json.loads(facts))
            for name, joined, seen, until, revoked, facts in rows
        ]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._connection.execute("ROLLBACK")
                raise


def ledger_file(folder: Path) -> Path:
    """Return the file of the ledger in a fleet's folder."""
    return folder / "fleet.sqlite"


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _changed(do: sqlite3.Connection) -> None:
    do.execute("UPDATE refusals SET changes = changes + 1")


def _redeemed(
    do: sqlite3.Connection, key: tuple[str, bytes, bytes, float]
) -> tuple[str, bytes] | None:
    row = do.execute(
        "SELECT redemption.client, redemption.certificate, not_after > ?4 AND revoked_at IS NULL"
        " FROM redemption JOIN token ON token.id = redemption.token"
        " LEFT JOIN certificate ON certificate.serial = redemption.serial"
        " WHERE token.id = ?1 AND secret_hash = ?2 AND redemption.key_hash = ?3 AND expires_at > ?4",
        key,
    ).fetchone()
    if row is None:
        return None
    client, certificate, holds = row
    if not holds:  # a revoked client that tries its old key again must not cost a use
        raise TokenRefused(
            "the certificate that this token gave to this key does not hold any more"
        )
    return client, certificate


def _use(do: sqlite3.Connection, key: tuple[str, bytes, float]) -> tuple[str, int]:
    row: tuple[str, int] | None = do.execute(
        "UPDATE token SET uses_left = uses_left - 1 WHERE id = ? AND secret_hash = ?"
        " AND uses_left > 0 AND expires_at > ? RETURNING name, uses",
        key,
    ).fetchone()
    if row is None:
        raise TokenRefused("the join token is unknown, used up or expired")
    return row


def _numbered(do: sqlite3.Connection, name: str) -> str:
    while True:
        (number,) = do.execute(
            "INSERT INTO numbering VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
            (name,),
        ).fetchone()
        client = f"{name}-{number}"
        if not do.execute("SELECT 1 FROM client WHERE name = ?", (client,)).fetchone():
            return client


def _end_certificates(do: sqlite3.Connection, client: str, now: float) -> None:
    end = "UPDATE certificate SET revoked_at = ? WHERE client = ? AND revoked_at IS NULL"
    if do.execute(end, (now, client)).rowcount:
        _changed(do)


def _record(do: sqlite3.Connection, client: str, issued: Issued, now: float) -> None:
    upsert = (
        "INSERT INTO client (name, enrolled_at, last_seen) VALUES (?1, ?2, ?2)"
        " ON CONFLICT (name) DO UPDATE SET last_seen = max(?2, coalesce(last_seen, 0))"
    )
    do.execute(upsert, (client, now))
    row = (issued.serial, client, issued.key_hash, issued.not_before, issued.not_after)
    do.execute("INSERT INTO certificate VALUES (?, ?, ?, ?, ?, NULL)", row)
    do.execute(
        "DELETE FROM certificate WHERE client = ?1 AND serial NOT IN (SELECT serial FROM certificate"
        # By the order of issue: one that was issued while the clock was ahead ends last.
        " WHERE client = ?1 ORDER BY rowid DESC LIMIT ?2)",
        (client, MOST_CERTIFICATES),
    )
