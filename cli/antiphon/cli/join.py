"""`antiphon join`: this machine becomes a client of a fleet."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from rich.console import Console

from antiphon.client.daemon.identity import identity_folder
from antiphon.client.daemon.join import join
from antiphon.core.errors import UserError
from antiphon.core.home import home_folder
from antiphon.core.identity import IdentityError
from antiphon.core.secret_file import read_secret


def join_fleet(
    address: str,
    token: str | None,
    token_file: Path | None,
    ca: str,
    home: Path | None,
    console: Console,
    *,
    force: bool,
) -> None:
    """Exchange a join token for this machine's identity.

    token: itself, or `-` for standard input; token_file: the file that holds it, which counts where both
    are given. Raises IdentityError, or UserError where there is no token.
    """
    if token_file is not None or token == "-":
        token = read_secret(token_file or Path("-"), "the join token")
    if not token:
        raise UserError(
            "no join token: give --token-file FILE, --token - (standard input) or --token"
        )
    folder = identity_folder(home_folder(home, os.environ))
    identity = asyncio.run(join(address, token, ca, folder, force=force))
    console.print(
        f"this machine is the client {identity.client} of the fleet {identity.fleet}; "
        "start its daemon with `antiphon client`",
        highlight=False,
        soft_wrap=True,
    )
    try:
        identity.check_dates(time.time())
    except IdentityError as error:  # joined all the same; the daemon could not connect
        console.print(f"but {error}", highlight=False, soft_wrap=True)
