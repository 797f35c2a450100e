"""A fleet as it lies on the coordinator's machine: its authority and its ledger."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.home import fleet_folder
from antiphon.server.enrolment.authority import Authority, open_authority, passphrase_of
from antiphon.server.enrolment.ledger import Ledger, ledger_file


@dataclass(frozen=True)
class Fleet:
    """An open fleet; folder: where it lies; random: gives unpredictable bytes."""

    folder: Path
    authority: Authority
    ledger: Ledger
    random: Callable[[int], bytes] = secrets.token_bytes

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()


def open_fleet(home: Path) -> Fleet:
    """Open the fleet below `home`. Raises IdentityError where `antiphon ca init` has made none."""
    folder = fleet_folder(home)
    authority = open_authority(folder, passphrase_of())
    return Fleet(folder, authority, Ledger(ledger_file(folder)))
