"""The secret of a coordinator's folds: made once, kept, and its owner's alone."""

from pathlib import Path

import pytest

from antiphon.core.errors import RunFolderError
from antiphon.server.folding.fold_secret import kept_secret, simulated_secret
from antiphon.strategies.fold import Context


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """A coordinator that starts again folds an open round to the same bits."""
    assert kept_secret(tmp_path) == kept_secret(tmp_path)


def test_two_coordinators_have_two(tmp_path: Path) -> None:
    """Nobody knows another one's."""
    assert kept_secret(tmp_path / "one") != kept_secret(tmp_path / "other")


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """Mode 0600, in a folder that only the owner can enter."""
    kept_secret(tmp_path / "fleet")

    assert (tmp_path / "fleet" / "fold.secret").stat().st_mode & 0o077 == 0
    assert (tmp_path / "fleet").stat().st_mode & 0o077 == 0


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    """Going on with other noise would be no repetition of the same round."""
    kept_secret(tmp_path)
    (tmp_path / "fold.secret").write_bytes(b"short")

    with pytest.raises(RunFolderError, match="5 bytes"):
        kept_secret(tmp_path)


def test_noise_of_a_round_is_the_same_again_and_of_no_other() -> None:
    """The generator follows from secret, round and purpose, and from all three."""

    def drawn(secret: bytes, number: int, purpose: str) -> float:
        return float(Context(number, secret=secret).rng(purpose).standard_normal())

    first = drawn(b"a", 1, "noise")

    assert first == drawn(b"a", 1, "noise")
    others = {drawn(b"b", 1, "noise"), drawn(b"a", 2, "noise"), drawn(b"a", 1, "mask")}
    assert first not in others
    assert len(others) == 3


def test_a_context_does_not_show_its_secret() -> None:
    """Neither in a log nor in a traceback."""
    assert "hidden" not in repr(Context(1, secret=b"hidden"))


def test_a_simulation_is_the_same_again(tiny_config) -> None:
    """Its noise follows from the seed, as everything else does."""
    one, again, other = (simulated_secret(tiny_config(f"seed={n}")) for n in (3, 3, 4))

    assert one == again != other
