"""Secrets that lie in files: what is in a command's arguments or environment can be read by others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from antiphon.core.errors import UserError

_MOST_CHARACTERS = 4096


def read_secret(path: Path, what: str, stdin: TextIO | None = None) -> str:
    """Return the one line that a file holds, without blanks around it; `-`: of standard input.

    what: for the message, such as `the join token`. Raises UserError where there is nothing, or more.
    """
    try:
        if str(path) == "-":
            text = (stdin or sys.stdin).read(_MOST_CHARACTERS + 1)
        else:
            with path.open(encoding="utf-8") as file:
                text = file.read(_MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {what} from {path}: {error}. Give a file that holds it"
        ) from None
    secret = text.strip()
    if not secret or len(secret.splitlines()) > 1 or len(text) > _MOST_CHARACTERS:
        raise UserError(
            f"{what} is expected in {path} as one line, got {len(secret.splitlines())} lines: write it "
            "there and nothing else"
        )
    return secret
