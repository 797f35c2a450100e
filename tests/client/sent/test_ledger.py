"""The ledger of what leaves a site is whole, or says where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest
import structlog

from antiphon.client.sent.book import WINDOW_S, Book
from antiphon.client.sent.entries import NO_ANSWER, Conclusion, Sending
from antiphon.client.sent.ledger import LedgerError, SentLedger, file_of, head_file
from antiphon.client.sent.purposes import PURPOSES
from antiphon.client.sent.reading import left, lines, verify
from antiphon.core.clock import VirtualClock
from antiphon.v1 import coordinator_pb2, enrolment_pb2

SERVICES = {
    **coordinator_pb2.DESCRIPTOR.services_by_name,
    **enrolment_pb2.DESCRIPTOR.services_by_name,
}
UPDATE = Sending("hub:8470", "update", "SubmitUpdate", "run", 1, 300, "ab" * 32)
POLL = Sending("hub:8470", "ask for work", "NextTask", "run", bytes=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the ledger is; three files, nine lines."""
    ledger = SentLedger(tmp_path / "sent", lambda: 1e9, file_bytes=600)
    for number in range(1, 10):
        ledger.add(UPDATE if number % 2 else Conclusion(number - 1, "accepted", 300))
    return tmp_path / "sent"


def changed(path: Path, line: int) -> None:
    """Change a byte within a line."""
    content = path.read_bytes().splitlines(keepends=True)
    content[line] = content[line].replace(b"300", b"200")
    path.write_bytes(b"".join(content))


def removed(path: Path, line: int) -> None:
    """Take a line out."""
    content = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(content[:line] + content[line + 1 :]))


def test_the_chain_goes_on_over_files(folder: Path) -> None:
    """A file that is large enough is followed by another; the lines are numbered through."""
    found = verify(folder)

    assert (found.count, found.newer) == (9, 0)
    assert len([*folder.glob("*.jsonl")]) == 3
    assert [line.n for line in lines(folder)] == [*range(1, 10)]


@pytest.mark.parametrize("harm", [changed, removed])
@pytest.mark.parametrize("file", [1, 2, 3])
@pytest.mark.parametrize("line", [0, 1])
def test_what_was_touched_is_found(
    folder: Path, harm: Callable[[Path, int], None], file: int, line: int
) -> None:
    """A line that was changed or removed, in whichever file, is named with its number."""
    before = [len(file_of(folder, each).read_bytes().splitlines()) for each in range(1, file)]

    harm(file_of(folder, file), line)

    with pytest.raises(LedgerError, match=rf"line {sum(before) + line + 1}\b"):
        verify(folder)


def test_a_ledger_cut_short_is_found(folder: Path) -> None:
    """Lines that are missing at the end are noticed by the head."""
    file_of(folder, 3).unlink()

    with pytest.raises(LedgerError, match="9 were written: line 7 is missing"):
        verify(folder)


def test_a_file_that_was_taken_away_is_found(folder: Path) -> None:
    """The first file cannot be left out, nor all of them."""
    file_of(folder, 1).unlink()

    with pytest.raises(LedgerError, match="line 1 is missing"):
        verify(folder)


def test_a_chain_that_was_written_anew_differs_from_the_anchor(
    folder: Path, tmp_path: Path
) -> None:
    """Who writes every line and the head anew makes a ledger that is whole, but not with that hash."""
    noted = verify(folder)
    other = SentLedger(tmp_path / "other", lambda: 1e9, file_bytes=600)
    for _ in range(9):
        other.add(UPDATE)

    assert verify(folder, (noted.count, noted.sha256)) == noted
    assert verify(tmp_path / "other").count == 9
    with pytest.raises(LedgerError, match="line 9"):
        verify(tmp_path / "other", (noted.count, noted.sha256))


@pytest.mark.parametrize("harm", [changed, removed])
def test_nothing_is_added_to_a_damaged_end(folder: Path, harm: Callable[[Path, int], None]) -> None:
    """Where the last line is not as it was written, the ledger cannot be opened: nothing may leave."""
    harm(file_of(folder, 3), len(file_of(folder, 3).read_bytes().splitlines()) - 1)

    with pytest.raises(LedgerError, match=r"damaged.*Nothing is sent"):
        SentLedger(folder, lambda: 1e9)


def test_lines_that_a_crash_kept_from_the_head_are_taken_in(folder: Path) -> None:
    """A line that was written before a kill stays; half a line has announced nothing and is cut off."""
    head = head_file(folder).read_bytes()
    SentLedger(folder, lambda: 1e9).add(UPDATE)
    head_file(folder).write_bytes(head)
    with file_of(folder, 3).open("ab") as file:
        file.write(b'{"n": 11, "bef')

    assert verify(folder).newer == 1
    assert SentLedger(folder, lambda: 1e9).add(UPDATE) == 11
    assert verify(folder).count == 11


def test_two_processes_write_one_chain(folder: Path) -> None:
    """`antiphon join` beside a daemon: each line goes on from the other's."""
    one, other = (SentLedger(folder, lambda: 1e9, file_bytes=600) for _ in range(2))

    numbers = [each.add(UPDATE) for each in (one, other, one, other)]

    assert numbers == [10, 11, 12, 13]
    assert verify(folder).count == 13


def test_others_cannot_read_it(folder: Path) -> None:
    """0600 in a folder of 0700, whatever the umask."""
    modes = [each.stat().st_mode & 0o777 for each in [folder, *folder.iterdir()]]

    assert modes == [0o700, *[0o600] * 4]


def test_a_full_disk_lets_nothing_leave(tmp_path: Path) -> None:
    """A line that cannot be written whole is taken back, and said; later ones go on."""
    code = (
        "import resource, signal, sys; from pathlib import Path;"
        "from antiphon.client.sent.ledger import SentLedger, LedgerError;"
        "from antiphon.client.sent.entries import Sending;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "ledger = SentLedger(Path(sys.argv[1]), lambda: 1e9);"
        "what = Sending('hub:1', 'update', 'SubmitUpdate', 'run', 1, 3, 'ab' * 32);"
        "ledger.add(what);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY));"
        "\ntry: ledger.add(what)"
        "\nexcept LedgerError as error: print(error)"
        "\nresource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2); ledger.add(what)"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}

    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "sent")],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "nothing is sent until it can be" in ran.stdout
    assert verify(tmp_path / "sent").count == 2


def test_every_method_has_its_purpose() -> None:
    """What a client can call is in the table, and nothing else."""
    methods = {method.name for each in SERVICES.values() for method in each.methods}

    assert methods == set(PURPOSES)


def test_calls_for_work_are_counted(tmp_path: Path) -> None:
    """A line before the first, one with the number when ten minutes are over, and a new window then."""
    clock = VirtualClock(1e9)
    book = Book(tmp_path / "sent", clock.now)

    for verdict in ("answered", NO_ANSWER, "answered"):
        book.end(book.begin(POLL, counted=True), verdict, 20)
    clock.advance_to(1e9 + WINDOW_S)
    book.begin(POLL, counted=True)

    first, second = left(lines(tmp_path / "sent"))
    assert (first.calls, first.bytes, first.verdict) == (3, 60, "2 of 3 answered")
    assert (second.calls, second.verdict) == (None, "not counted yet")


def test_what_is_counted_is_written_at_the_end(tmp_path: Path) -> None:
    """A process that ends in good order leaves no call uncounted."""
    book = Book(tmp_path / "sent", lambda: 1e9)
    book.end(book.begin(POLL, counted=True), "answered", 20)

    book.close()

    assert [each.calls for each in left(lines(tmp_path / "sent"))] == [1]


def test_only_what_is_new_is_read(folder: Path) -> None:
    """Who asks for this day does not read the files of the years before."""
    changed(file_of(folder, 1), 0)
    os.utime(file_of(folder, 1), (1.0, 1.0))

    found = list(lines(folder, since=2.0))

    assert [line.n for line in found] == [*range(found[0].n, 10)]
    assert found[0].n > 1


def test_the_log_is_a_witness(folder: Path) -> None:
    """A process says at its start and end where the ledger ends, as --anchor takes it."""
    with structlog.testing.capture_logs() as logs:
        Book(folder, lambda: 1e9).close()

    number, _, sha256 = logs[-1]["anchor"].partition(":")
    assert verify(folder, (int(number), sha256)).count == 9


def test_a_kill_at_any_moment_leaves_it_whole(tmp_path: Path) -> None:
    """What was written before a kill is there, and the next process goes on with the chain."""
    code = (
        "import sys; from pathlib import Path; from antiphon.client.sent.ledger import SentLedger;"
        "from antiphon.client.sent.entries import Sending;"
        "ledger = SentLedger(Path(sys.argv[1]), lambda: 1e9, file_bytes=2000);"
        "what = Sending('hub:1', 'update', 'SubmitUpdate', 'run', 1, 3, 'ab' * 32)"
        "\nwhile True: print(ledger.add(what), flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}

    for lives in (3, 7, 5):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "sent")], env=environment, stdout=PIPE
        ) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(lives)]
            process.kill()

        assert verify(tmp_path / "sent").count >= said[-1]
