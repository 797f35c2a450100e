"""Reading a site's ledger: what has left, and whether every line is as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from antiphon.client.sent.entries import (
    BEGINNING,
    NO_ANSWER,
    Conclusion,
    LedgerLine,
    Sending,
    read_line,
)
from antiphon.client.sent.ledger import Head, LedgerError, file_of, head_file, read_head

NOT_COUNTED = "not counted yet"
"""Of calls that are counted together: they go on, or the process was killed before it wrote how many."""


@dataclass(frozen=True)
class Left:
    """Something that has left, with its answer. number: of its line; at: seconds since the Unix epoch;
    calls: how many there were, none: not known yet; verdict: `no answer` where none is written down.
    """

    number: int
    at: float
    what: Sending
    calls: int | None
    bytes: int
    verdict: str


@dataclass(frozen=True)
class Verified:
    """A ledger that is as it was written. count: of lines; sha256: of the last; newer: lines that the head
    does not count yet, of a process at work or of one that was killed.
    """

    count: int
    sha256: str
    newer: int


def lines(folder: Path, since: float | None = None) -> Iterator[LedgerLine]:
    """Yield every line of a ledger, oldest first.

    since: leave out files that were not written to since then (seconds since the Unix epoch); what is
    read must be a chain, but may begin anywhere. A last line that is not whole is left out: it is being
    written. Raises LedgerError, with the number of the line and its place, for the first that was changed,
    or does not follow on the one before.
    """
    number, before = 0, BEGINNING
    first = 1 if since is None else _first_since(folder, since)
    if first > 1:
        number, before = _where_it_begins(file_of(folder, first))
    for path, place, content, last in _raw(folder, first):
        if last and not content.endswith(b"\n"):
            return
        try:
            line = read_line(content)
        except ValueError:
            line = None
        if line is None or line.n != number + 1 or line.before != before:
            # The line itself may be whole: then the one before it is not what it was.
            changed = line is not None and line.n == number + 1 and number > 0
            raise _broken(
                number if changed else number + 1, f"{path}, line {place}", changed=changed
            )
        number, before = line.n, line.sha256
        yield line


def verify(folder: Path, anchor: tuple[int, str] | None = None) -> Verified:
    """Read a whole ledger and compare its end with its head. Raises LedgerError, as `lines` does.

    anchor: number and SHA-256 of a line, as they were noted elsewhere: who can write the folder could write
    lines and head anew, but not make a line that has this hash.
    """
    head, count, sha256, met = _head_of(folder), 0, BEGINNING, anchor is None
    for line in lines(folder):
        count, sha256 = line.n, line.sha256
        if count == head.count and sha256 != head.sha256:
            raise _broken(count, str(head_file(folder)), changed=True)
        if anchor is not None and anchor[0] == count and anchor[1] != sha256:
            raise _broken(count, "the hash that was noted elsewhere differs", changed=True)
        met = met or (anchor is not None and anchor[0] == count)
    if count < head.count or not met:
        wanted = max(head.count, anchor[0] if anchor else 0)
        raise LedgerError(
            f"the ledger ends with line {count}, {wanted} were written: line {count + 1} is missing"
        )
    return Verified(count, sha256, count - head.count)


def left(found: Iterable[LedgerLine]) -> list[Left]:
    """Return what has left, oldest first, each with its answer."""
    things: dict[int, Left] = {}
    for line in found:
        what = line.what
        if isinstance(what, Sending):
            counted = what.until is not None
            calls, verdict = (None, NOT_COUNTED) if counted else (1, NO_ANSWER)
            things[line.n] = Left(line.n, line.at, what, calls, what.bytes or 0, verdict)
        elif isinstance(what, Conclusion) and what.of in things:
            thing = things[what.of]
            things[what.of] = replace(
                thing, calls=what.calls, bytes=what.bytes, verdict=what.verdict
            )
    return list(things.values())


def _head_of(folder: Path) -> Head:
    try:
        return read_head(head_file(folder).read_bytes(), folder)
    except FileNotFoundError:
        raise LedgerError(
            f"there is no ledger in {folder}: nothing has left this machine since it keeps one, or its "
            "files were removed"
        ) from None


def _first_since(folder: Path, since: float) -> int:
    """Return the number of the first file that was written to since then, or of the last one."""
    number = 1
    while file_of(folder, number + 1).exists() and file_of(folder, number).stat().st_mtime < since:
        number += 1
    return number


def _where_it_begins(path: Path) -> tuple[int, str]:
    """Return number and hash of the line before a file's first."""
    with path.open("rb") as file:
        try:
            line = read_line(file.readline())
        except ValueError:
            raise _broken(1, f"{path}, line 1", changed=True) from None
    return line.n - 1, line.before


def _raw(folder: Path, first: int) -> Iterator[tuple[Path, int, bytes, bool]]:
    """Yield each line with its file, its number in there, and whether nothing comes after it."""
    number = first
    while (path := file_of(folder, number)).exists():
        found = path.read_bytes().splitlines(keepends=True)
        number += 1
        last_file = not file_of(folder, number).exists()
        for place, content in enumerate(found, start=1):
            yield path, place, content, last_file and place == len(found)


def _broken(number: int, where: str, *, changed: bool) -> LedgerError:
    what = "was changed" if changed else "is missing, or was changed"
    return LedgerError(f"line {number} of the ledger {what} ({where})")
