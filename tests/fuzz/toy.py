"""A decoder with a defect that was put there, to see that a fuzzer finds it."""

from __future__ import annotations

from tests.fuzz.target import Target


class NotAList(Exception):
    """The bytes are not of the toy's language."""


def _decode(content: bytes) -> list[int]:
    """Read a list of bytes: `AP`, its length, its items. The length is believed, which is the defect."""
    if content[:2] != b"AP" or len(content) < 3:
        raise NotAList("expected AP and a length")
    return [content[3 + place] for place in range(content[2])]


TOY = Target(_decode, lambda: [b"AP\x03abc"], (NotAList,))
