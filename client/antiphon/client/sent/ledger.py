"""The ledger of what leaves a site: written and on the disk before the bytes leave.

A folder of its own: `000001.jsonl`, `000002.jsonl`, … hold the lines, one chain over all of them, and
`head` says how many there are and the hash of the last. Several processes may write (the daemon, and
`antiphon join`): each line is added under a lock, from what the head says. Nothing is ever removed here.

A crash leaves lines that the head does not know yet: they are taken in where they go on with the chain. A
line that is not whole was never synced, so what it announces has not left; it is cut off.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from antiphon.client.sent.entries import BEGINNING, Conclusion, Sending, hash_of, read_line, written
from antiphon.core.errors import UserError
from antiphon.core.home import private_folder

FILE_BYTES = 8 << 20
"""Size after which the chain goes on in a new file."""

_HEAD_BYTES = 256


class LedgerError(UserError):
    """The ledger cannot be written, or is damaged: nothing may leave."""


@dataclass(frozen=True)
class Head:
    """Where a ledger ends. file: its number; last, size: offsets of the last line and of its end, bytes;
    count: of lines in all files; sha256: of the last line.
    """

    file: int = 1
    last: int = 0
    size: int = 0
    count: int = 0
    sha256: str = BEGINNING


class SentLedger:
    """The ledger in one folder, for writing."""

    def __init__(
        self, folder: Path, now: Callable[[], float], *, file_bytes: int = FILE_BYTES
    ) -> None:
        """now: seconds since the Unix epoch. Raises LedgerError where its end is damaged."""
        self._folder, self._now, self._file_bytes = folder, now, file_bytes
        with self._locked() as descriptor:
            self._caught_up(descriptor)

    def add(self, what: Sending | Conclusion) -> int:
        """Write a line; it is on the disk when this returns. Returns its number; raises LedgerError."""
        with self._locked() as descriptor:
            head = self._caught_up(descriptor)
            if head.size >= self._file_bytes:
                head = replace(head, file=head.file + 1, last=0, size=0)
            line = written(head.count + 1, head.sha256, self._now(), what)
            _append(file_of(self._folder, head.file), line, head.size)
            after = _after(head, line)
            _write_head(descriptor, after, sync=False)  # a head that is behind catches up
            return after.count

    def head(self) -> Head:
        """Return where it ends. Raises LedgerError."""
        with self._locked() as descriptor:
            return self._caught_up(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the head's file, made if it is not there. What the system refuses is a LedgerError."""
        try:
            private_folder(self._folder)
            descriptor = os.open(head_file(self._folder), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise LedgerError(
                f"the ledger of what leaves this machine cannot be written ({self._folder}: "
                f"{error.strerror}): free some space if the disk is full; nothing is sent until it can be"
            ) from None

    def _caught_up(self, descriptor: int) -> Head:
        """Return where the ledger ends, with the lines that a crash has kept from the head."""
        known = os.pread(descriptor, _HEAD_BYTES, 0)
        if not known and not file_of(self._folder, 1).exists():
            _write_head(descriptor, Head())
            return Head()
        head = found = read_head(known, self._folder)
        while True:
            path = file_of(self._folder, found.file)
            found = _read_on(path, found)
            if not file_of(self._folder, found.file + 1).exists():
                break
            found = replace(found, file=found.file + 1, last=0, size=0)
        if found != head:
            _write_head(descriptor, found)
        return found


def head_file(folder: Path) -> Path:
    """Return the file that says where a ledger ends."""
    return folder / "head"


def file_of(folder: Path, number: int) -> Path:
    """Return one of the files of lines; the first has the number 1."""
    return folder / f"{number:06d}.jsonl"


def read_head(content: bytes, folder: Path) -> Head:
    """Read a head. Raises LedgerError where it is none."""
    try:
        return Head(**json.loads(content))
    except (ValueError, TypeError):
        raise damaged(head_file(folder), "it does not say where the ledger ends") from None


def damaged(path: Path, what: str) -> LedgerError:
    """Return the error that says what is wrong with a file of the ledger."""
    return LedgerError(
        f"the ledger of what leaves this machine is damaged: {path}: {what}. Nothing is sent. Look into it "
        "(`antiphon client sent --verify`), move the folder away and keep it; a new ledger begins then"
    )


def _read_on(path: Path, head: Head) -> Head:
    """Compare a file with its head, and take in whole lines behind it; the rest is cut off."""
    size = path.stat().st_size if path.exists() else 0
    if size < head.size:
        raise damaged(path, f"it has {size} bytes, {head.size} were written")
    if not size:
        return head
    with path.open("r+b") as file:
        file.seek(head.last)
        if head.size and hash_of(file.read(head.size - head.last)) != head.sha256:
            raise damaged(path, f"line {head.count} of the ledger was changed")
        for line in file.read().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            if not _goes_on(line, head):
                raise damaged(path, f"line {head.count + 1} of the ledger does not follow")
            head = _after(head, line)
        if head.size < size:
            file.truncate(head.size)
    return head


def _goes_on(content: bytes, head: Head) -> bool:
    try:
        line = read_line(content)
    except ValueError:
        return False
    return (line.n, line.before) == (head.count + 1, head.sha256)


def _after(head: Head, line: bytes) -> Head:
    size = head.size + len(line)
    return Head(head.file, head.size, size, head.count + 1, hash_of(line))


def _append(path: Path, line: bytes, size: int) -> None:
    """Write a line at offset `size` and sync it; what could not be written whole is taken back."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        try:
            done = 0
            while done < len(line):  # a disk that is full takes a part, then says why not more
                done += os.pwrite(descriptor, line[done:], size + done)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if size == 0:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_head(descriptor: int, head: Head, *, sync: bool = True) -> None:
    """Write the head in place: as long as ever, within one sector, so that it is whole or the old one."""
    os.pwrite(descriptor, json.dumps(asdict(head), allow_nan=False).encode().ljust(_HEAD_BYTES), 0)
    if sync:
        os.fsync(descriptor)
