"""`antiphon client sent`: what has left this machine, and whether the ledger of it is whole."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from antiphon.cli.terminal import harmless
from antiphon.client.sent.book import sent_folder
from antiphon.client.sent.ledger import LedgerError
from antiphon.client.sent.reading import Left, left, lines, verify
from antiphon.core.errors import UserError
from antiphon.core.json_text import json_text


def show_sent(client: Path, run: str | None, console: Console, *, as_json: bool) -> None:
    """Print what has left, oldest first. client: the site's folder; run: of this run only.

    Raises LedgerError where there is no ledger, or a line is not as it was written.
    """
    folder = sent_folder(client)
    if not folder.exists():
        raise UserError(f"nothing has left this machine: there is no ledger in {folder}")
    found = [each for each in left(lines(folder)) if run is None or each.what.run == run]
    if as_json:
        sys.stdout.write(json_text({"sent": [plain(each) for each in found]}) + "\n")
        return
    for line in rows(found):
        console.print(harmless(line), highlight=False, soft_wrap=True)
    calls = sum(each.calls or 0 for each in found)
    size = sum(each.bytes for each in found)
    console.print(f"{calls} messages, {size} bytes", highlight=False)


def verify_sent(client: Path, anchor: str | None, console: Console, *, as_json: bool) -> None:
    """Check every line; say how many there are, and the hash of the last. Ends with 1 where one is wrong.

    anchor: N:SHA256 of a line, as a `--verify` has shown it before.
    """
    try:
        found = verify(sent_folder(client), _anchor(anchor))
    except LedgerError as error:
        if as_json:
            sys.stdout.write(json_text({"whole": False, "reason": str(error)}) + "\n")
        else:
            console.print(escape(str(error)), highlight=False, soft_wrap=True)
        raise SystemExit(1) from None
    if as_json:
        sys.stdout.write(json_text({"whole": True, **asdict(found)}) + "\n")
        return
    console.print(f"{found.count} lines, each as it was written", highlight=False)
    if found.newer:
        console.print(f"{found.newer} of them newer than the head", highlight=False)
    console.print(
        f"the last is {found.count}:{found.sha256}; who notes that elsewhere can compare it later "
        "(--anchor)",
        highlight=False,
        soft_wrap=True,
    )


def plain(thing: Left) -> dict[str, Any]:
    """Return something that has left as plain values."""
    what = asdict(thing.what) | {"bytes": thing.bytes}
    return {
        "number": thing.number,
        "at": thing.at,
        **what,
        "calls": thing.calls,
        "verdict": thing.verdict,
    }


def rows(found: list[Left]) -> list[str]:
    """Return a line for each thing that has left, under a head, in columns as wide as they must be."""
    head = ("time", "run", "round", "purpose", "bytes", "verdict", "SHA-256")
    cells = [head, *map(_cells, found)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _cells(each: Left) -> tuple[str, str, str, str, str, str, str]:
    calls = "" if each.calls in (1, None) else f" ({each.calls} calls)"
    return (
        f"{datetime.fromtimestamp(each.at):%Y-%m-%d %H:%M:%S}",
        each.what.run,
        "" if each.what.round is None else str(each.what.round),
        each.what.purpose + calls,
        str(each.bytes),
        each.verdict,
        (each.what.sha256 or "")[:12],
    )


def _anchor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    number, _, sha256 = text.partition(":")
    if not number.isdecimal() or len(sha256) != 64:
        raise UserError(f"--anchor is {text[:80]!r}: expected N:SHA256, as --verify prints it")
    return int(number), sha256
