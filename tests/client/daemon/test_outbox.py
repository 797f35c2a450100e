"""The outbox keeps an update from before it is sent until it has a final answer."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from antiphon.client.daemon.outbox import Outbox, Queued
from antiphon.core.blob import blob_of


def put(outbox: Outbox, folder: Path, number: int, run: str = "run", size: int = 1000) -> Queued:
    """Put an update with a blob into the outbox."""
    content = os.urandom(size)
    path = folder / f"made-{run}-{number}"
    path.write_bytes(content)
    entry = Queued(run, number, b"message %d" % number, blob_of(content, "safetensors"))
    outbox.add(entry, path)
    return entry


def blobs(folder: Path) -> set[str]:
    """Names of the files that lie in an outbox."""
    return {path.name for path in (folder / "blobs").iterdir()}


def test_entry_survives_a_restart(tmp_path: Path) -> None:
    """What was added is there, byte for byte, when the outbox is opened again."""
    outbox = Outbox(tmp_path / "outbox")
    entry = put(outbox, tmp_path, 1)
    outbox.close()

    again = Outbox(tmp_path / "outbox")

    assert again.entries() == [entry]
    assert entry.blob is not None
    assert again.path_of(entry.blob).stat().st_size == 1000


def test_entry_is_there_after_a_kill(tmp_path: Path) -> None:
    """An update needs no goodbye: it is on the disk when `add` returns."""
    entry = put(Outbox(tmp_path / "outbox"), tmp_path, 1)

    assert Outbox(tmp_path / "outbox").entries() == [entry]


def test_blob_is_taken_over(tmp_path: Path) -> None:
    """The trainer's file is moved, not copied."""
    outbox = Outbox(tmp_path / "outbox")

    put(outbox, tmp_path, 1)

    assert [path.name for path in tmp_path.iterdir()] == ["outbox"]


def test_removal_forgets_the_blob(tmp_path: Path) -> None:
    """With its answer an update's file goes, and nobody else's."""
    outbox = Outbox(tmp_path / "outbox")
    first, second = put(outbox, tmp_path, 1), put(outbox, tmp_path, 2)
    assert first.blob is not None
    assert second.blob is not None

    outbox.remove("run", 1)

    assert outbox.entries() == [second]
    assert blobs(tmp_path / "outbox") == {second.blob.sha256}


def test_orphans_are_removed_at_the_start(tmp_path: Path) -> None:
    """A file that a kill has left without its entry goes when the outbox is opened."""
    outbox = Outbox(tmp_path / "outbox")
    put(outbox, tmp_path, 1)
    (tmp_path / "outbox" / "blobs" / ".half.part-7").write_bytes(b"half")

    Outbox(tmp_path / "outbox")

    assert len(blobs(tmp_path / "outbox")) == 1


def test_same_round_is_replaced(tmp_path: Path) -> None:
    """A round has one update: a newer one takes the place of the older."""
    outbox = Outbox(tmp_path / "outbox")
    put(outbox, tmp_path, 1)

    newer = put(outbox, tmp_path, 1)

    assert outbox.entries() == [newer]
    assert len(blobs(tmp_path / "outbox")) == 1


@pytest.mark.parametrize("limit", [{"max_entries": 2}, {"max_bytes": 2500}])
def test_oldest_of_another_run_is_dropped(tmp_path: Path, limit: dict[str, int]) -> None:
    """When there is too much, the oldest update of another run goes."""
    outbox = Outbox(tmp_path / "outbox", **limit)
    put(outbox, tmp_path, 1, run="old")
    kept = put(outbox, tmp_path, 2, run="old")

    newest = put(outbox, tmp_path, 1, run="new")

    assert outbox.entries() == [kept, newest]


def test_own_run_is_never_dropped(tmp_path: Path) -> None:
    """What the open run waits for stays, whatever the limits."""
    outbox = Outbox(tmp_path / "outbox", max_entries=1)

    entries = [put(outbox, tmp_path, number) for number in (1, 2, 3)]

    assert outbox.entries() == entries


def test_bytes_sent_are_kept_by_day(tmp_path: Path) -> None:
    """Bytes add up within a day, across restarts, and not beyond it."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.note_sent("2026-03-02", 100)
    outbox.close()

    again = Outbox(tmp_path / "outbox")
    again.note_sent("2026-03-02", 20)

    assert (again.sent_on("2026-03-02"), again.sent_on("2026-03-03")) == (120, 0)


def test_a_clock_that_was_set_back_gives_no_day_again(tmp_path: Path) -> None:
    """What left on a later day counts on this one, once; the days that follow begin with nothing."""
    outbox = Outbox(tmp_path / "outbox")
    outbox.note_sent("2026-03-02", 100)
    outbox.note_sent("2031-01-01", 20)

    back = outbox.sent_on("2026-03-02")
    outbox.note_sent("2026-03-02", 3)

    assert (back, outbox.sent_on("2026-03-02"), outbox.sent_on("2026-03-03")) == (120, 123, 0)


def test_a_clock_that_was_set_far_back_counts_too(tmp_path: Path) -> None:
    """Older days than those that are kept are not forgotten at once."""
    outbox = Outbox(tmp_path / "outbox")
    for day in range(1, 29):
        outbox.note_sent(f"2026-03-{day:02d}", 1)

    outbox.note_sent("2020-01-01", 50)

    assert outbox.sent_on("2020-01-01") >= 50


def test_only_the_owner_can_read(tmp_path: Path) -> None:
    """The folder is 0700 and the index 0600."""
    Outbox(tmp_path / "outbox")

    modes = [
        stat.S_IMODE((tmp_path / name).stat().st_mode)
        for name in ("outbox", "outbox/blobs", "outbox/outbox.sqlite")
    ]

    assert modes == [0o700, 0o700, 0o600]
