"""Text of others, made safe to show: names of clients and reasons may hold anything at all."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

_LONGEST = 400
_MARKDOWN = re.compile(r"([!-/:-@\[-`{-~])")
_HIDDEN = ("Cc", "Cf", "Co", "Cs")  # controls, direction marks, private use, halves of a pair


def shown(text: object, longest: int = _LONGEST) -> str:
    """Return a text on one line, for a place that shows it as it is: a table's cell, a chart's label.

    Control characters and marks that turn the direction of writing become �, since they could make one
    name look like another; what is longer than `longest` characters is cut.
    """
    line = " ".join(str(text)[: 2 * longest].split())
    seen = "".join("\ufffd" if unicodedata.category(each) in _HIDDEN else each for each in line)
    return seen if len(seen) <= longest else f"{seen[: longest - 1]}…"


def escaped(text: object) -> str:
    """Return a text for a place that reads Markdown: no link, picture, formula or icon comes of it."""
    return _MARKDOWN.sub(r"\\\1", shown(text))


def moment(seconds: float | None) -> datetime | None:
    """Return a time, seconds since the Unix epoch, as tables take it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def ago(seconds: float | None) -> str:
    """Return how long ago something was: `just now`, `42 s ago`, `3 min ago`, `2 h ago`, `5 days ago`."""
    if seconds is None:
        return ""
    if seconds < 2:
        return "just now"
    for unit, name, until in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172_800)):
        if seconds < until:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds / 86_400:.0f} days ago"
