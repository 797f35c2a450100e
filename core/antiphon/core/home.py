"""The home folder: what a machine keeps between runs, readable by its owner only.

`fleet/` is the coordinator's half (the root's key and the ledger), `client/` the client's (its key, its
certificate, its outbox, its settings).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from antiphon.core.files import write_bytes


def home_folder(given: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the home folder: `given`, else $ANTIPHON_HOME, else ~/.antiphon. It need not exist."""
    if given is not None:
        return given
    named = environ.get("ANTIPHON_HOME")
    return Path(named) if named else Path.home() / ".antiphon"


def fleet_folder(home: Path) -> Path:
    """Return where a coordinator's machine keeps the fleet's root and ledger."""
    return home / "fleet"


def client_folder(home: Path) -> Path:
    """Return where a client's machine keeps what is its own."""
    return home / "client"


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can enter (0700), if it is not there; return it.

    So are the folders above it that have to be made.
    """
    if not path.parent.exists():
        private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read (0600), whole or not at all."""
    private_folder(path.parent)
    write_bytes(path, content)


def keep_private() -> None:
    """Let what this process and its children make be their owner's alone, whatever the umask was."""
    os.umask(0o077)
