"""`antiphon ca`: the fleet's root."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from antiphon.core.home import fleet_folder, home_folder
from antiphon.server.enrolment.authority import create_authority, passphrase_of
from antiphon.server.enrolment.ledger import Ledger, ledger_file


def init_authority(fleet: str, home: Path | None, console: Console) -> None:
    """Make a fleet: its root and an empty ledger. Prints the pin; raises IdentityError."""
    folder = fleet_folder(home_folder(home, os.environ))
    passphrase = passphrase_of(os.environ)
    authority = create_authority(folder, fleet, passphrase, time.time())
    Ledger(ledger_file(folder)).close()
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
