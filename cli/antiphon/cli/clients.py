"""`antiphon token` and `antiphon clients`: who may join the fleet, who is in it, who is not any more."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from antiphon.core.address import is_address
from antiphon.core.files import write_text
from antiphon.core.home import fleet_folder, home_folder
from antiphon.core.identity import IdentityError, pin_of
from antiphon.core.json_text import json_text
from antiphon.server.enrolment.authority import read_root
from antiphon.server.enrolment.ledger import FleetMember, Ledger, ledger_file
from antiphon.server.enrolment.tokens import new_token, written

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_S = 366 * 86_400


def create_token(
    name: str,
    uses: int,
    ttl: str,
    address: str,
    out: Path | None,
    home: Path | None,
    console: Console,
) -> None:
    """Print the one line that a machine joins with.

    ttl: such as `24h`; address: HOST:PORT of the enrolment service, as that machine reaches it; out: a
    file to write the token to, so that it is on no screen and in no command. Raises IdentityError.
    """
    if out is not None and out.exists():
        raise IdentityError(f"{out} exists already: give --out a file that does not")
    if not is_address(address) or address.endswith(":0"):
        raise IdentityError(
            f"--address {address[:80]!r} is no address: expected HOST:PORT, such as hub.example.org:8471"
        )
    folder = fleet_folder(home_folder(home, os.environ))
    pin = pin_of(read_root(folder))
    token = new_token(name, uses, time.time() + seconds_of(ttl), secrets.token_bytes)
    with _ledger(folder) as ledger:
        known = uses == 1 and any(each.name == name for each in ledger.clients())
        ledger.add_token(token)
    if known:
        console.print(
            f"{name} is a client already: when the token is used, its present certificate ends"
        )
    shown = f"--token {written(token)}"
    if out is not None:
        write_text(out, f"{written(token)}\n")
        shown = f"--token-file {shlex.quote(out.name)}"
    sys.stdout.write(f"antiphon join {address} {shown} --ca {pin}\n")


def list_clients(home: Path | None, console: Console, *, as_json: bool) -> None:
    """Print the clients of the fleet: when they called last, until when their certificate is valid."""
    with _ledger(fleet_folder(home_folder(home, os.environ))) as ledger:
        members = ledger.clients()
    if as_json:
        sys.stdout.write(json_text({"clients": [asdict(each) for each in members]}) + "\n")
        return
    table = Table("client", "last seen", "certificate until", "revoked")
    for each in members:
        table.add_row(each.name, *_times(each))
    console.print(table)


def revoke_client(name: str, home: Path | None, console: Console) -> None:
    """Refuse a client from now on; a running coordinator cuts it off in seconds. Raises IdentityError."""
    with _ledger(fleet_folder(home_folder(home, os.environ))) as ledger:
        ledger.revoke(name, time.time())
    console.print(f"{name} is revoked; a new token for this name lets it come back")


def seconds_of(text: str) -> float:
    """Return the seconds that a text such as `90s`, `30m`, `24h` or `7d` means. Raises IdentityError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None or not float(found[1]):
        raise IdentityError(f"--ttl {text[:40]!r} is no time: expected such as 90s, 30m, 24h or 7d")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds > _LONGEST_S:
        raise IdentityError(
            f"--ttl {text[:40]} is more than a year: give 365d at most, and a new token after it"
        )
    return seconds


@contextmanager
def _ledger(folder: Path) -> Iterator[Ledger]:
    read_root(folder)  # a folder that is no fleet's must not become one
    ledger = Ledger(ledger_file(folder))
    try:
        yield ledger
    finally:
        ledger.close()


def _times(member: FleetMember) -> tuple[str, str, str]:
    said = (member.last_seen, member.certificate_until, member.revoked_at)
    last_seen, until, revoked = ("" if each is None else _when(each) for each in said)
    return last_seen, until, revoked


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
