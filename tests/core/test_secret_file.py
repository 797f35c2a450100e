"""A secret that lies in a file, or comes on standard input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from antiphon.core.errors import UserError
from antiphon.core.secret_file import read_secret


def test_file(tmp_path: Path) -> None:
    """The one line, without what an editor leaves around it."""
    file = tmp_path / "token"
    file.write_text("abc.def\n\n")

    assert read_secret(file, "the join token") == "abc.def"


def test_standard_input() -> None:
    """`-` is what a pipe gives."""
    assert read_secret(Path("-"), "the join token", io.StringIO(" abc.def\n")) == "abc.def"


@pytest.mark.parametrize("content", [b"", b"\n \n", b"two\nlines", b"x" * 5000, b"\xff\xfe"])
def test_file_without_one_line_is_refused(tmp_path: Path, content: bytes) -> None:
    """It is not guessed which part of a file is meant; what it holds is not shown."""
    file = tmp_path / "token"
    file.write_bytes(content)

    with pytest.raises(UserError, match="the join token") as caught:
        read_secret(file, "the join token")

    assert "two" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The message says which file was looked for."""
    with pytest.raises(UserError, match="nowhere"):
        read_secret(tmp_path / "nowhere", "the join token")
