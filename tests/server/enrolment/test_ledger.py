"""The ledger: a real SQLite file, opened more than once."""

import secrets
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from antiphon.core.identity import IdentityError
from antiphon.server.enrolment.ledger import (
    MOST_CERTIFICATES,
    ClientRefused,
    FleetMember,
    Issued,
    Ledger,
    NewToken,
    TokenRefused,
)

NOW = 1.8e9


def issued(_name="") -> Issued:
    """Return a certificate as the ledger sees one."""
    serial = secrets.token_hex(8)
    return Issued(serial, b"key", NOW, NOW + 100, serial.encode())


@pytest.fixture
def path(tmp_path):
    """Where the test's ledger lies."""
    return tmp_path / "fleet" / "fleet.sqlite"


@pytest.fixture
def ledger(path):
    """An empty ledger."""
    ledger = Ledger(path, new=True)
    yield ledger
    ledger.close()


def token(name="edge", uses=1, expires_at=NOW + 60) -> NewToken:
    """Return a new token."""
    return NewToken(secrets.token_hex(4), secrets.token_hex(20), name, uses, expires_at)


def redeem(ledger, given, key=b"key", now=NOW):
    """Exchange a token."""
    return ledger.redeem(given.id, given.secret, key, now, issued)


def added(ledger, **of) -> NewToken:
    """Make a token and add it."""
    made = token(**of)
    ledger.add_token(made)
    return made


def joined(ledger, name) -> str:
    """Let a client in; return its certificate's serial."""
    return redeem(ledger, added(ledger, name=name), secrets.token_bytes(8))[1].decode()


def test_one_use_among_many(path, ledger):
    """Of 32 redemptions at the same time of a token of one use, one is accepted."""
    given = added(ledger)
    ledgers = [Ledger(path, new=True) for _ in range(8)]

    def attempt(number: int) -> bool:
        try:
            redeem(ledgers[number % 8], given, bytes([number]))
        except TokenRefused:
            return False
        return True

    with ThreadPoolExecutor(32) as threads:
        accepted = list(threads.map(attempt, range(32)))

    for each in ledgers:
        each.close()
    assert sum(accepted) == 1


def test_same_key_again(ledger):
    """A lost reply costs nothing: the same token with the same key gives the same answer."""
    given = added(ledger)

    assert redeem(ledger, given) == redeem(ledger, given)


def test_other_key_again(ledger):
    """A used token is refused for another key."""
    given = added(ledger)
    redeem(ledger, given)

    with pytest.raises(TokenRefused):
        redeem(ledger, given, b"other")


def test_wrong_secret(ledger):
    """Who knows the id of a token only is refused, also with the key of its owner."""
    given = added(ledger)
    redeem(ledger, given)

    with pytest.raises(TokenRefused):
        ledger.redeem(given.id, "guess", b"key", NOW, issued)


@pytest.mark.parametrize("late", [60, 61])
def test_expired(ledger, late):
    """A token is refused from its end on, also for whoever redeemed it in time."""
    given = added(ledger)
    redeem(ledger, given)

    with pytest.raises(TokenRefused):
        redeem(ledger, given, now=NOW + late)


def test_numbered(ledger):
    """A token of several uses names its clients NAME-1, NAME-2, …; names that exist are left out."""
    joined(ledger, "edge-2")
    given = added(ledger, uses=3)

    names = [redeem(ledger, given, bytes([key]))[0] for key in range(3)]

    assert names == ["edge-1", "edge-3", "edge-4"]


def test_failed_signing_costs_no_use(ledger):
    """Where no certificate could be made, the token is as before."""
    given = added(ledger)

    def broken(_name):
        raise OSError("no entropy")

    with pytest.raises(OSError, match="no entropy"):
        ledger.redeem(given.id, given.secret, b"key", NOW, broken)

    assert redeem(ledger, given)[0] == "edge"


def test_only_hashes_are_kept(path, ledger):
    """The ledger's file does not contain a token's secret."""
    given = added(ledger)
    ledger.close()

    assert given.secret.encode() not in path.read_bytes()


def test_revoked(ledger):
    """A revoked client's certificates are refused, and so are its renewals."""
    serial = joined(ledger, "edge")
    assert not ledger.is_revoked(serial, "edge")

    ledger.revoke("edge", NOW)

    assert ledger.is_revoked(serial, "edge")
    with pytest.raises(ClientRefused, match="new join token"):
        ledger.renew("edge", NOW, issued)


def test_revoking_ends_tokens(ledger):
    """A token that a revoked client has not used yet is worth nothing."""
    given = added(ledger)

    ledger.revoke("edge", NOW)

    with pytest.raises(TokenRefused):
        redeem(ledger, given)


def test_revoked_key_again(ledger):
    """A revoked client does not come back with the key and the shared token that it joined with."""
    given = added(ledger, uses=5)
    redeem(ledger, given)
    ledger.revoke("edge-1", NOW)

    with pytest.raises(TokenRefused):
        redeem(ledger, given)


def test_coming_back(ledger):
    """A new token lets a revoked name back in; its old certificate stays refused."""
    old = joined(ledger, "edge")
    ledger.revoke("edge", NOW)

    new = joined(ledger, "edge")

    assert (ledger.is_revoked(old, "edge"), ledger.is_revoked(new, "edge")) == (True, False)


def test_one_name_is_one_machine(ledger):
    """Whoever joins under a name ends the certificates that the name had."""
    old = joined(ledger, "edge")

    joined(ledger, "edge")

    assert ledger.is_revoked(old, "edge")


def test_renewal_keeps_the_old_one(ledger):
    """A renewed client may go on with its old certificate until that runs out."""
    old = joined(ledger, "edge")

    new = ledger.renew("edge", NOW, issued).decode()

    assert not ledger.is_revoked(old, "edge")
    assert not ledger.is_revoked(new, "edge")


def test_newest_certificates_count(ledger):
    """A client that renews without end has its newest certificates only."""
    first = joined(ledger, "edge")

    for _ in range(MOST_CERTIFICATES):
        ledger.renew("edge", NOW, issued)

    assert ledger.is_revoked(first, "edge")


def test_a_certificate_is_a_sign_of_life(ledger):
    """A client is seen when it joins, when it renews, and when it comes back, never back in time."""
    joined(ledger, "edge")
    ledger.saw({"edge": (NOW + 7, {})})

    seen = []
    for at_s in (NOW + 5, NOW + 9):
        ledger.renew("edge", at_s, issued)
        seen.append(ledger.clients()[0].last_seen)

    assert seen == [NOW + 7, NOW + 9]


@pytest.mark.parametrize("client", ["edge", "other"])
def test_unknown_certificate(ledger, client):
    """A certificate that the ledger does not know for this client is refused."""
    serial = joined(ledger, "edge")

    assert ledger.is_revoked("0" if client == "edge" else serial, client)


def test_revoking_nobody(ledger):
    """A name that was mistyped is said to be nobody's."""
    with pytest.raises(IdentityError, match="antiphon clients list"):
        ledger.revoke("egde", NOW)


@pytest.mark.parametrize(
    "bad", [{"name": "A"}, {"uses": 0}, {"name": "a" * 60, "uses": 2}], ids=str
)
def test_bad_tokens(ledger, bad):
    """A token that could make a bad name, or nothing, is not made."""
    with pytest.raises(IdentityError):
        ledger.add_token(token(**bad))


def test_watching(path, ledger):
    """Any change moves the version, and only what concerns refusals moves theirs."""
    joined(ledger, "edge")
    other = Ledger(path, new=True)
    data, refusals = ledger.data_version(), ledger.refusals_version()

    other.saw({"edge": (NOW + 1, {})})
    assert (ledger.data_version() != data, ledger.refusals_version() != refusals) == (True, False)
    data = ledger.data_version()
    ledger.revoke("edge", NOW)
    other.close()

    assert (ledger.data_version() != data, ledger.refusals_version() != refusals) == (True, True)


def test_members(ledger):
    """Clients are listed by name, with what they said last and the end of their last certificate."""
    joined(ledger, "b")
    joined(ledger, "a")
    ledger.saw({"a": (NOW + 5, {"cores": 2})})
    ledger.saw({"a": (NOW + 6, {})})

    assert ledger.clients() == [
        FleetMember("a", NOW, NOW + 6, NOW + 100, None, {"cores": 2}),
        FleetMember("b", NOW, NOW, NOW + 100, None, {}),
    ]


def test_file_is_private(path, ledger):
    """Only the owner can read the ledger and its side files."""
    added(ledger)

    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert set(modes.values()) == {0o600}


def test_not_a_ledger(tmp_path):
    """Another program's SQLite file is left alone."""
    file = tmp_path / "other.sqlite"
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE t (x)")
    other.close()

    with pytest.raises(IdentityError, match="no fleet's ledger"):
        Ledger(file)


def test_damaged(tmp_path):
    """A file that is no SQLite file is said to be damaged."""
    (tmp_path / "fleet.sqlite").write_bytes(b"not a database, though long enough" * 40)

    with pytest.raises(IdentityError, match="Restore it from a copy"):
        Ledger(tmp_path / "fleet.sqlite")


@pytest.mark.parametrize("content", [None, b""])
def test_a_lost_ledger_is_not_made_anew(tmp_path, content):
    """Neither where it is missing nor where it is empty: it would forget who is in the fleet, silently."""
    file = tmp_path / "fleet.sqlite"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(IdentityError, match=r"is lost.*Restore it from a copy.*ca new-ledger"):
        Ledger(file)

    assert [each.name for each in tmp_path.iterdir()] == ([] if content is None else [file.name])
