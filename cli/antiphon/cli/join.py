"""`antiphon join`: this machine becomes a client of a fleet."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rich.console import Console

from antiphon.client.daemon.identity import identity_folder
from antiphon.client.daemon.join import join
from antiphon.core.home import home_folder


def join_fleet(
    address: str, token: str, ca: str, home: Path | None, console: Console, *, force: bool
) -> None:
    """Exchange a join token for this machine's identity. Raises IdentityError."""
    folder = identity_folder(home_folder(home, os.environ))
    identity = asyncio.run(join(address, token, ca, folder, force=force))
    console.print(
        f"this machine is the client {identity.client} of the fleet {identity.fleet}; "
        "start its daemon with `antiphon client`",
        highlight=False,
    )
