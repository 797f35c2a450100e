"""Bytes in parts: hashed, counted and written as if they were in one piece."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.content import Content
from antiphon.core.files import write_bytes


@given(st.lists(st.binary()))
def test_parts_count_and_hash_as_one_piece(parts):
    """Size and SHA-256 are those of the joined bytes, wherever they are cut."""
    content = Content(tuple(memoryview(part) for part in parts))

    joined = content.joined()

    assert joined == b"".join(parts)
    assert (content.size, content.sha256) == (len(joined), hashlib.sha256(joined).hexdigest())


def test_parts_are_written_one_after_the_other(tmp_path):
    """The file holds what the parts hold, in their order."""
    write_bytes(tmp_path / "file", Content((b"one ", memoryview(b"two "), b"", b"three")))

    assert (tmp_path / "file").read_bytes() == b"one two three"
