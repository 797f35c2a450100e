"""Names, URIs and the home folder: what everybody in a fleet agrees on."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.home import home_folder, write_private
from antiphon.core.identity import (
    IdentityError,
    Subject,
    caller_of,
    checked_name,
    pin_of,
    renewal_statement,
)

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)


@pytest.mark.parametrize("name", ["", "-a", "A", "a.b", "../a", "a/b", "a" * 65, "a\n", "é", "a b"])
def test_bad_names(name):
    """What could be a path, another URI or another host is no name."""
    with pytest.raises(IdentityError, match="cannot be used"):
        checked_name(name, "the client")


@given(name=NAMES)
def test_certificates_say_the_name(fleet_authority, name):
    """Every name that is allowed comes back from the certificate made for it."""
    key = fleet_authority.key.public_key()

    leaf = fleet_authority.issue_client(name, key, 1.8e9, 60.0)

    assert caller_of(leaf) == Subject("ward", "client", name)


def test_coordinator_is_no_client(fleet):
    """The coordinator's certificate names the coordinator."""
    leaf = fleet.authority.issue_coordinator(fleet.authority.key.public_key(), 1.8e9, 60.0)

    assert caller_of(leaf) == Subject("ward", "coordinator")


def test_root_is_nobody(fleet):
    """A root is neither coordinator nor client."""
    with pytest.raises(IdentityError, match="expected client/NAME"):
        caller_of(fleet.authority.root)


def test_pin_is_of_the_key(fleet):
    """The pin is `sha256:` and 64 hex digits, and another fleet's differs."""
    assert pin_of(fleet.authority.root) == fleet.authority.pin
    assert len(fleet.authority.pin) == len("sha256:") + 64


def test_renewal_statement():
    """What is signed is as long as the protocol says: purpose, zero byte, nonce, hash."""
    statement = renewal_statement(b"n" * 32, b"request")

    assert statement.startswith(b"antiphon renew expired v1\0" + b"n" * 32)
    assert len(statement) == 26 + 32 + 32


def test_home_folder(tmp_path):
    """The home is what was given, else $ANTIPHON_HOME, else ~/.antiphon."""
    environ = {"ANTIPHON_HOME": str(tmp_path)}

    assert home_folder(Path("here"), environ) == Path("here")
    assert home_folder(None, environ) == tmp_path
    assert home_folder(None, {}) == Path.home() / ".antiphon"


def test_private_files(tmp_path):
    """A private file and its folder are their owner's only, also when replaced."""
    file = tmp_path / "secret" / "key"

    write_private(file, b"1")
    write_private(file, b"2")

    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"2", 0o600)
    assert file.parent.stat().st_mode & 0o777 == 0o700
