"""Words of a peer on a terminal: nothing in them moves the cursor, hides a line or changes a colour."""

from __future__ import annotations

from rich.markup import escape


def harmless(text: str) -> str:
    """Return a line for rich's console: characters that a terminal acts on are replaced."""
    return escape("".join(each if each.isprintable() else "\ufffd" for each in text))
