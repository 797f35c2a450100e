"""Files that are whole or not there: atomic writes, and a full disk said in words.

What is written is its owner's alone (files 0600, folders 0700), whatever the umask: a journal, an update
and a model tell of the people whose rows they come from.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antiphon.core import write_back
from antiphon.core.content import Content
from antiphon.core.errors import RunFolderError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def full_disk_is_said(path: Path) -> Iterator[None]:
    """Turn 'no space left' below this block into a RunFolderError that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        free = shutil.disk_usage(_existing_parent(path)).free
        raise RunFolderError(
            f"the disk is full: could not write {path} ({free / 1e6:.1f} MB free there). "
            "Free some space, or choose another place (output.runs_dir, ANTIPHON_CACHE), then try again "
            "(a run goes on with --resume)."
        ) from error


@contextmanager
def written_whole(path: Path, *, sync: bool = True, private: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success it becomes `path`, on failure it is removed.

    Works for a file and for a folder. sync: the content is on the disk before the name is (fsync); else
    it outlives the process, but not a power cut. private: only the owner can read it; else the umask
    decides.
    """
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    make_folders(path.parent)
    try:
        _remove(part)  # of a process that was killed and had the same number
        with full_disk_is_said(path):
            yield part
            if private:
                _keep_private(part)
            if sync:
                _sync_all(part)
            if path.is_dir() and part.is_dir():
                shutil.rmtree(path)
            part.replace(path)
            if sync:
                _sync(path.parent)
    finally:
        _remove(part)


def write_bytes(path: Path, content: bytes | Content, *, sync: bool = True) -> None:
    """Write `content` to `path`, whole or not at all. sync: see written_whole."""
    with written_whole(path, sync=sync) as part:
        _write(part, content)


def write_hashed(path: Path, content: Content) -> str:
    """Write as write_bytes does, and return the hex SHA-256: hashed while the disk is at work."""
    with written_whole(path) as part:
        _write(part, content, begin=True)
        return content.sha256


def write_cache(path: Path, content: bytes | Content) -> None:
    """Write what can be made again: whole for other processes, but not synced. Raises RunFolderError."""
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    make_folders(path.parent)
    try:
        with full_disk_is_said(path):
            _write(part, content)
            part.replace(path)
    finally:
        _remove(part)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def link_whole(source: Path, path: Path, *, sync: bool = True) -> None:
    """Give the file `source`, which is on the disk, the second name `path`; replaces what was there.

    sync: see written_whole.
    """
    with written_whole(path, sync=sync) as part:
        os.link(source, part)


def make_folders(path: Path) -> None:
    """Make a folder, and those above it that are missing, for the owner alone; one that is there stays."""
    if not path.is_dir():
        make_folders(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def private_opener(path: str, flags: int) -> int:
    """Open a file that, if it is made, only its owner can read: an opener for `open`."""
    return os.open(path, flags, 0o600)


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed have left below `folder`; no other may be writing there."""
    for part in list(folder.rglob(".*.part-*")):
        _remove(part)


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: bytes | Content, *, begin: bool = False) -> None:
    with open(path, "wb", opener=private_opener) as file:
        file.writelines(content.parts if isinstance(content, Content) else [content])
        if begin:
            file.flush()
            write_back.begin(file.fileno(), 0, file.tell())


def _keep_private(path: Path) -> None:
    for each in [*path.rglob("*"), path] if path.is_dir() else [path]:
        each.chmod(0o700 if each.is_dir() else 0o600)


def _sync_all(path: Path) -> None:
    for each in [*path.rglob("*"), path] if path.is_dir() else [path]:
        _sync(each)


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk; not what lies in that folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _existing_parent(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
