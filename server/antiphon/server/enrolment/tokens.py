"""Join tokens as text: `ID.SECRET`, in letters and digits that can be pasted and read aloud."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from antiphon.server.enrolment.ledger import NewToken, TokenRefused

_ID_BYTES = 5
_SECRET_BYTES = 20
_FORM = re.compile(r"([a-z2-7]{8})\.([a-z2-7]{32})")


def new_token(name: str, uses: int, expires_at: float, random: Callable[[int], bytes]) -> NewToken:
    """Draw a token with a secret of 160 bits. random: gives as many unpredictable bytes as asked."""
    return NewToken(_text(random(_ID_BYTES)), _text(random(_SECRET_BYTES)), name, uses, expires_at)


def written(token: NewToken) -> str:
    """Return what the operator hands out."""
    return f"{token.id}.{token.secret}"


def parsed(text: str) -> tuple[str, str]:
    """Return a token's id and secret. Raises TokenRefused where the text is no token."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise TokenRefused("the text is no join token")
    return found[1], found[2]


def _text(content: bytes) -> str:
    return base64.b32encode(content).decode().rstrip("=").lower()
