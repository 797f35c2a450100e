"""Files are whole or not there."""

import errno
import os

import pytest

from antiphon.core.content import Content
from antiphon.core.errors import RunFolderError
from antiphon.core.events import RunResumed
from antiphon.core.files import (
    full_disk_is_said,
    sha256_of,
    write_bytes,
    write_cache,
    write_hashed,
    write_text,
    written_whole,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import create


def test_a_written_file_is_there(tmp_path):
    """The content is what was given, and nothing else is in the folder."""
    write_text(tmp_path / "a" / "report.md", "ünï")

    assert (tmp_path / "a" / "report.md").read_text(encoding="utf-8") == "ünï"
    assert os.listdir(tmp_path / "a") == ["report.md"]


def half_written(path):
    with written_whole(path) as part:
        part.write_text("half")
        raise ValueError("stop")


def test_a_failure_leaves_the_old_file(tmp_path):
    """An error while writing keeps what was there and removes what was begun."""
    path = tmp_path / "state"
    write_text(path, "old")

    with pytest.raises(ValueError, match="stop"):
        half_written(path)

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["state"]


def test_a_folder_is_replaced_whole(tmp_path):
    """Files of the old folder do not stay in the new one."""
    for name in ("first", "second"):
        with written_whole(tmp_path / "adapter") as part:
            part.mkdir()
            (part / name).write_text(name)

    assert os.listdir(tmp_path / "adapter") == ["second"]


def test_the_remains_of_a_killed_process_do_not_matter(tmp_path):
    """A temporary folder that somebody with our process number left is removed first."""
    (tmp_path / f".adapter.part-{os.getpid()}").mkdir()

    with written_whole(tmp_path / "adapter") as part:
        part.mkdir()

    assert os.listdir(tmp_path) == ["adapter"]


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    """When the system finds no room, the error names the place, and nothing half-written stays."""

    def no_room(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)

    with pytest.raises(
        RunFolderError, match=r"the disk is full: could not write .*state.*--resume"
    ):
        write_text(tmp_path / "state", "content")

    assert os.listdir(tmp_path) == []


def test_other_errors_pass_through(tmp_path):
    """Only a full disk is put in other words."""
    with pytest.raises(PermissionError), full_disk_is_said(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_what_lies_beside_a_file_is_not_touched(tmp_path):
    """Another thread's temporary file may be gone a moment after it was seen."""
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")

    write_text(tmp_path / "live.json", "{}")

    assert (tmp_path / "live.json").read_text() == "{}"


def test_a_hashed_file_is_there_under_its_hash(tmp_path):
    """All parts are written, in order, and the hash is that of the file."""
    digest = write_hashed(tmp_path / "state", Content((b"head", memoryview(b"tensors"))))

    assert (tmp_path / "state").read_bytes() == b"headtensors"
    assert digest == sha256_of(tmp_path / "state")


@pytest.fixture
def open_umask():
    """A umask that lets everybody read everything."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder):
    """The modes of a folder's files and folders that anybody but the owner may use."""
    found = {each.name: each.stat().st_mode for each in folder.rglob("*")}
    return {name: oct(mode) for name, mode in found.items() if mode & 0o077}


@pytest.mark.usefixtures("open_umask")
def test_what_is_written_is_its_owners_alone(tmp_path):
    """Files and folders, made at once or part by part, whatever the umask."""
    write_bytes(tmp_path / "a" / "file", b"1")
    write_cache(tmp_path / "b" / "c" / "cache", b"2")
    with written_whole(tmp_path / "d" / "folder") as part:
        (part / "inner").mkdir(parents=True)
        (part / "inner" / "file").write_text("3")

    assert modes(tmp_path) == {}


@pytest.mark.usefixtures("open_umask")
def test_a_journal_is_its_owners_alone(tmp_path):
    """The file, its lock and what SQLite keeps beside it."""
    with Journal.writing(tmp_path / "journal.sqlite") as journal:
        journal.append(RunResumed(), 1.0)

        assert len(list(tmp_path.iterdir())) == 4
        assert modes(tmp_path) == {}


@pytest.mark.usefixtures("open_umask")
def test_a_run_folder_is_its_owners_alone(tmp_path):
    """From the moment in which it is made; the folder of the runs too, where it was not there."""
    create(tmp_path / "runs", "run", {"name": "run"}, "ab")

    assert modes(tmp_path) == {}
