"""`antiphon ca`: the fleet's root."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from antiphon.core.home import fleet_folder, home_folder
from antiphon.core.identity import IdentityError
from antiphon.server.enrolment.authority import create_authority, passphrase_of, read_root
from antiphon.server.enrolment.ledger import Ledger, ledger_file


def init_authority(fleet: str, home: Path | None, console: Console) -> None:
    """Make a fleet: its root and an empty ledger. Prints the pin; raises IdentityError."""
    folder = fleet_folder(home_folder(home, os.environ))
    passphrase = passphrase_of(os.environ)
    authority = create_authority(folder, fleet, passphrase, time.time())
    Ledger(ledger_file(folder), new=True).close()
    console.print(
        f"the fleet {fleet} lives in {escape(str(folder))}: keep a copy of this folder in a safe place",
        soft_wrap=True,
    )
    if passphrase is None:
        console.print(
            "the root's key is not encrypted: whoever reads it can join anything to the fleet "
            "(set ANTIPHON_CA_PASSPHRASE or ANTIPHON_CA_PASSPHRASE_FILE before `antiphon ca init`)",
            soft_wrap=True,
        )
    sys.stdout.write(f"{authority.pin}\n")


def new_ledger(home: Path | None, console: Console) -> None:
    """Begin an empty ledger for a fleet that has lost its own. Raises IdentityError where one is there."""
    folder = fleet_folder(home_folder(home, os.environ))
    read_root(folder)  # a folder that is no fleet's must not become one
    file = ledger_file(folder)
    if file.exists() and file.stat().st_size > 0:
        raise IdentityError(
            f"{file} is there: a new ledger would forget every client, token and revocation. If it cannot "
            "be read, restore it from a copy, or move it away first"
        )
    Ledger(file, new=True).close()
    console.print(
        f"{escape(str(file))} is empty: no certificate of before is accepted any more. Make a token for "
        "each client, which joins with --force",
        soft_wrap=True,
    )
