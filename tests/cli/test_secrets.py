"""Tokens and passphrases that are in no command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antiphon.core.errors import UserError
from antiphon.core.home import fleet_folder
from antiphon.server.enrolment.authority import create_authority, open_authority, passphrase_of
from antiphon.server.enrolment.ledger import Ledger, ledger_file
from antiphon.server.enrolment.tokens import parsed

ANTIPHON = [sys.executable, "-m", "antiphon.cli.main"]
PIN = f"sha256:{'0' * 64}"
NOWHERE = "127.0.0.1:1"


def antiphon(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command."""
    environment = {k: v for k, v in os.environ.items() if k != "ANTIPHON_JOIN_TOKEN"}
    return subprocess.run(
        [*ANTIPHON, *map(str, arguments)],
        input=stdin, capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home folder of a coordinator with a fleet."""
    folder = fleet_folder(tmp_path / "home")
    create_authority(folder, "ward", None, time.time())
    Ledger(ledger_file(folder), new=True).close()
    return tmp_path / "home"


def test_token_is_written_to_a_file(home: Path, tmp_path: Path) -> None:
    """The file is the owner's alone, and the line that is printed names it and not the token."""
    file = tmp_path / "out" / "edge.token"

    done = antiphon("token", "create", "--name", "edge", "--home", home, "--out", file)

    _, secret = parsed(file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    assert "--token-file edge.token" in done.stdout
    assert secret not in done.stdout + done.stderr


def test_file_that_is_there_is_not_replaced(home: Path, tmp_path: Path) -> None:
    """It may hold a token that somebody waits for."""
    (tmp_path / "edge.token").write_text("mine")

    done = antiphon(
        "token", "create", "--name", "edge", "--home", home, "--out", tmp_path / "edge.token"
    )

    assert (done.returncode, (tmp_path / "edge.token").read_text()) == (2, "mine")


@pytest.mark.parametrize(
    ("flags", "stdin"), [(["--token-file", "FILE"], ""), (["--token", "-"], "abc.def\n")]
)
def test_join_reads_its_token(tmp_path: Path, flags: list[str], stdin: str) -> None:
    """From a file, or from standard input: then the coordinator is looked for."""
    (tmp_path / "token").write_text("abc.def\n")
    flags = [each.replace("FILE", str(tmp_path / "token")) for each in flags]

    done = antiphon("join", NOWHERE, *flags, "--ca", PIN, "--home", tmp_path, stdin=stdin)

    assert "cannot reach the enrolment service" in done.stderr


def test_join_without_a_token_says_how_to_give_one(tmp_path: Path) -> None:
    """Nothing is sent to anybody."""
    done = antiphon("join", NOWHERE, "--ca", PIN, "--home", tmp_path)

    assert done.returncode == 2
    assert "--token-file" in done.stderr


def test_passphrase_comes_from_a_file(tmp_path: Path) -> None:
    """The root's key is encrypted with what the file holds."""
    (tmp_path / "passphrase").write_text("correct horse\n")

    found = passphrase_of({"ANTIPHON_CA_PASSPHRASE_FILE": str(tmp_path / "passphrase")})
    create_authority(tmp_path / "fleet", "ward", found, time.time())

    assert found == "correct horse"
    assert open_authority(tmp_path / "fleet", "correct horse").fleet == "ward"


def test_two_passphrases_are_refused(tmp_path: Path) -> None:
    """Which of them is meant is not guessed."""
    (tmp_path / "passphrase").write_text("a")
    both = {
        "ANTIPHON_CA_PASSPHRASE": "b",
        "ANTIPHON_CA_PASSPHRASE_FILE": str(tmp_path / "passphrase"),
    }

    with pytest.raises(UserError, match="both set"):
        passphrase_of(both)
