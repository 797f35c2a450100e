"""The journal: a real SQLite file in a temporary folder."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.core.errors import RunFolderError
from antiphon.core.events import ClientJoined, ClientLeft, Ticked
from antiphon.core.journal import VERSION, Entry, Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's journal lies; nothing is there yet."""
    return tmp_path / "journal.sqlite"


def other(path: Path) -> sqlite3.Connection:
    """Open the file as another program would."""
    return sqlite3.connect(path, isolation_level=None)


def test_entries_come_back_in_order(path: Path) -> None:
    """What was appended is read in the order of writing, with its time and numbers from 1."""
    with Journal.writing(path) as journal:
        assert [journal.append(Ticked(), 0.1), journal.append(ClientLeft("a"), 2.5)] == [1, 2]

        assert list(journal.read()) == [Entry(1, 0.1, Ticked()), Entry(2, 2.5, ClientLeft("a"))]


def test_times_are_exact(path: Path) -> None:
    """A time comes back with every bit: replay compares it with deadlines."""
    with Journal.writing(path) as journal:
        journal.append(Ticked(), 1_790_000_000.123456789)

        assert next(journal.read()).at_s == 1_790_000_000.123456789


def test_reopening_goes_on(path: Path) -> None:
    """A journal that is opened again keeps its entries and goes on counting."""
    with Journal.writing(path) as journal:
        journal.append(Ticked(), 0.0)

    with Journal.writing(path) as journal:
        assert journal.append(Ticked(), 1.0) == 2


def test_read_after(path: Path) -> None:
    """A reader that knows the first entries is given the later ones only."""
    with Journal.writing(path) as journal:
        journal.append_many([Ticked()] * 2500, 0.0)

        assert [entry.seq for entry in journal.read(after=1200)] == list(range(1201, 2501))


def test_read_kinds(path: Path) -> None:
    """A reader can ask for some kinds of events only."""
    with Journal.writing(path) as journal:
        journal.append_many([Ticked(), ClientLeft("a"), ClientJoined("a", 1)], 0.0)

        wanted = [entry.event for entry in journal.read(kinds=[ClientLeft, ClientJoined])]

    assert wanted == [ClientLeft("a"), ClientJoined("a", 1)]


def test_append_many_is_all_or_nothing(path: Path) -> None:
    """If one event of several cannot be written, none is."""
    with Journal.writing(path) as journal:
        with pytest.raises(TypeError):
            journal.append_many([Ticked(), ClientLeft(object())], 0.0)  # type: ignore[arg-type]

        assert list(journal.read()) == []


def test_append_many_of_nothing(path: Path) -> None:
    """Appending no events gives the last number there is: 0 in an empty journal."""
    with Journal.writing(path) as journal:
        assert journal.append_many([], 0.0) == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET at_s = 9",
        "DELETE FROM event",
        "INSERT OR REPLACE INTO event VALUES (1, 9, 'ticked', '{}')",
    ],
)
def test_history_cannot_be_changed(path: Path, change: str) -> None:
    """The file itself refuses changes of what was written, also to other programs."""
    with Journal.writing(path) as journal:
        journal.append(Ticked(), 0.0)
        stranger = other(path)

        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            stranger.execute(change)

        stranger.close()
        assert list(journal.read()) == [Entry(1, 0.0, Ticked())]


def test_one_writer(path: Path) -> None:
    """A second writer is told who the first is."""
    with Journal.writing(path), pytest.raises(RunFolderError, match=f"pid {os.getpid()}"):
        Journal.writing(path)


def test_lock_ends_with_the_writer(path: Path) -> None:
    """When the writer has closed its journal, another may write."""
    Journal.writing(path).close()

    with Journal.writing(path) as journal:
        assert journal.append(Ticked(), 0.0) == 1


def test_killed_writer_loses_nothing(path: Path) -> None:
    """What append returned for is there after the writer was killed, and the lock is free."""
    program = (
        "import sys, os, signal; from pathlib import Path\n"
        "from antiphon.core.journal import Journal; from antiphon.core.events import Ticked\n"
        "Journal.writing(Path(sys.argv[1])).append(Ticked(), 7.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    ended = subprocess.run([sys.executable, "-c", program, str(path)], env=environment, check=False)

    assert ended.returncode == -signal.SIGKILL
    with Journal.writing(path) as journal:
        assert list(journal.read()) == [Entry(1, 7.0, Ticked())]


def test_reading_beside_a_writer(path: Path) -> None:
    """A reader sees each entry as soon as it is written, while the writer is alive."""
    with Journal.writing(path) as writer, Journal.reading(path) as reader:
        assert list(reader.read()) == []

        writer.append(Ticked(), 0.0)

        assert [entry.seq for entry in reader.read()] == [1]


def test_reader_cannot_write(path: Path) -> None:
    """A journal opened for reading refuses an append, and says what to do."""
    Journal.writing(path).close()

    with Journal.reading(path) as reader, pytest.raises(RunFolderError, match="reading only"):
        reader.append(Ticked(), 0.0)


def test_commits_are_durable(path: Path) -> None:
    """The journal runs in WAL with synchronous FULL, so a commit outlives a power cut."""
    with Journal.writing(path) as journal:
        mode = journal._connection.execute("PRAGMA journal_mode").fetchone()
        synchronous = journal._connection.execute("PRAGMA synchronous").fetchone()

    assert (mode, synchronous) == (("wal",), (2,))


def test_newer_version_is_refused(path: Path) -> None:
    """A journal of a newer version is refused with the advice to upgrade."""
    Journal.writing(path).close()
    newer = other(path)
    newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.close()

    for open_ in (Journal.writing, Journal.reading):
        with pytest.raises(RunFolderError, match=f"version {VERSION + 1}.*upgrade"):
            open_(path)


def test_another_file_is_refused(path: Path) -> None:
    """A file that is no SQLite file is refused and left as it was."""
    path.write_text("dear diary " * 100)

    for open_ in (Journal.writing, Journal.reading):
        with pytest.raises(RunFolderError, match="as a journal"):
            open_(path)

    assert path.read_text() == "dear diary " * 100


def test_another_database_is_refused(path: Path) -> None:
    """A SQLite file of another program is refused and left as it was."""
    database = other(path)
    database.execute("CREATE TABLE recipe (name TEXT)")
    database.close()
    before = path.read_bytes()

    for open_ in (Journal.writing, Journal.reading):
        with pytest.raises(RunFolderError, match="no journal of a run"):
            open_(path)

    assert path.read_bytes() == before


def test_refusal_gives_the_lock_back(path: Path) -> None:
    """A journal that could not be opened is not locked afterwards."""
    path.write_text("dear diary " * 100)
    with pytest.raises(RunFolderError):
        Journal.writing(path)
    path.unlink()

    with Journal.writing(path) as journal:
        assert list(journal.read()) == []


def test_missing_journal_is_said(path: Path) -> None:
    """A journal that is not there cannot be read, and reading does not make one."""
    with pytest.raises(RunFolderError, match="no journal at"):
        Journal.reading(path)

    assert not path.exists()


def test_damage_is_said(path: Path) -> None:
    """A journal whose pages were overwritten is said to be damaged, not read as something else."""
    with Journal.writing(path) as journal:
        journal.append_many([ClientLeft("a" * 500)] * 100, 0.0)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 4)

    with pytest.raises(RunFolderError, match="damaged"), Journal.reading(path) as journal:
        list(journal.read())


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"client": 1}'])
def test_a_damaged_event_is_said(path: Path, body: str) -> None:
    """An event that is no JSON, or lacks something, names the journal, the entry and what to do."""
    with Journal.writing(path) as journal:
        journal.append(Ticked(), 0.0)
        insert = "INSERT INTO event (at_s, kind, body) VALUES (1, 'client_left', ?)"
        journal._connection.execute(insert, (body,))

    with pytest.raises(RunFolderError) as refused, Journal.reading(path) as journal:
        list(journal.read())

    assert f"{path}, entry 2: the journal is damaged" in str(refused.value)
    assert "restore the journal from a copy" in str(refused.value)


def test_full_disk_is_said(path: Path) -> None:
    """An append that finds no room says so, and one after room was made goes through."""
    with Journal.writing(path) as journal:
        journal.append(Ticked(), 0.0)
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(RunFolderError, match="disk is full"):
            journal.append(ClientLeft("a" * 100_000), 1.0)

        journal._connection.execute("PRAGMA max_page_count = 1000000")
        assert journal.append(ClientLeft("a"), 2.0) == 2
