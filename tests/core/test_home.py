"""The home folder's modes."""

from __future__ import annotations

from pathlib import Path

from antiphon.core.home import private_folder


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folders_that_have_to_be_made_are_private(tmp_path: Path) -> None:
    """So is the home folder, which is made on the way to a folder in it."""
    home = tmp_path / "home"

    private_folder(home / "fleet" / "server")

    assert [mode_of(each) for each in (home, home / "fleet", home / "fleet" / "server")] == [
        0o700
    ] * 3


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    """A home that its owner has opened for others stays open; what is in it does not."""
    tmp_path.chmod(0o755)

    private_folder(tmp_path / "fleet")

    assert mode_of(tmp_path) == 0o755
