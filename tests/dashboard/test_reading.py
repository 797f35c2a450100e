"""Reading a journal beside its writer."""

import sqlite3

import pytest
from tests.dashboard.conftest import journal_of

from antiphon.core.errors import RunFolderError
from antiphon.core.events import ClientJoined, RunStarted, Ticked
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.reading import BEGINNING, News, news_of, stamp_of


def read_news(file, after=BEGINNING):
    """Return what is new in a journal, with all its entries."""
    with news_of(file, after) as news:
        return News(tuple(news.entries), news.place, news.anew)


STARTED = RunStarted("run", "0", 2, 1, 3)


def test_only_what_is_new_is_read(tmp_path):
    """After the last entry that was read, the next reading begins."""
    folder = journal_of(tmp_path, [STARTED, ClientJoined("a", 1)])
    first = read_news(folder.journal_file)
    journal_of(tmp_path, [ClientJoined("b", 1)])

    second = read_news(folder.journal_file, first.place)

    assert [entry.event for entry in second.entries] == [ClientJoined("b", 1)]
    assert (first.place.seq, second.place.seq) == (2, 3)


def test_a_reader_sees_what_an_open_writer_has_appended(tmp_path):
    """A journal is read while its writer holds it open, and its stamp tells that it has grown."""
    folder = journal_of(tmp_path, [STARTED])
    before, start = stamp_of(folder), read_news(folder.journal_file).place

    with Journal.writing(folder.journal_file) as journal:
        journal.append(Ticked(), 1.0)
        news = read_news(folder.journal_file, start)
        after = stamp_of(folder)

    assert [entry.event for entry in news.entries] == [Ticked()]
    assert after != before


@pytest.mark.parametrize("others", [1, 5])
def test_another_journal_in_the_same_place_is_read_anew(tmp_path, others):
    """A journal that does not hold what was read before is read from its beginning, shorter or longer."""
    before = read_news(journal_of(tmp_path / "a", [STARTED, Ticked()]).journal_file).place
    folder = journal_of(tmp_path / "b", [ClientJoined("b", 1)] * others)

    news = read_news(folder.journal_file, before)

    assert news.anew
    assert len(news.entries) == others


def test_no_journal_has_no_stamp(tmp_path):
    """A folder without a journal, and a journal without a byte, are the same: nothing has happened."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "journal.sqlite").touch()

    assert stamp_of(RunFolder(tmp_path / "a")) is None
    assert stamp_of(RunFolder(tmp_path / "b")) is None


def test_a_journal_of_a_newer_version_is_refused(tmp_path):
    """A newer schema is said to be newer."""
    folder = journal_of(tmp_path, [STARTED])
    with sqlite3.connect(folder.journal_file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(RunFolderError, match="newer Antiphon"):
        read_news(folder.journal_file)


@pytest.mark.parametrize("content", [b"no journal at all" * 99, b"SQLite format 3\0" + bytes(9)])
def test_a_damaged_journal_is_refused(tmp_path, content):
    """A file that is no journal gives an error for people."""
    (tmp_path / "journal.sqlite").write_bytes(content)

    with pytest.raises(RunFolderError):
        read_news(tmp_path / "journal.sqlite")
