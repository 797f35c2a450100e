"""`antiphon client`: the daemon."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from antiphon.client.daemon.daemon import Daemon
from antiphon.core.home import client_folder, home_folder


def run_client(config: Path | None, home: Path | None, *, once: bool) -> int:
    """Run the daemon until it is told to stop, with `once` to the end of one run; return the exit code.

    config: client.yaml; none: the one in the home folder. Raises ConfigError for a wrong setting and
    IdentityError where this machine has not joined a fleet.
    """
    folder = client_folder(home_folder(home, os.environ))
    daemon = Daemon(folder, config or folder / "client.yaml", once=once)
    return asyncio.run(daemon.run())
