"""Writing that begins before anybody waits for it."""

import os
import sys

import pytest

from antiphon.core import write_back


def test_what_has_begun_is_written_as_it_is(tmp_path):
    """The content and the place in the file stay what they were."""
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"first")

        write_back.begin(file.fileno(), 0, 5)
        file.write(b" then")

    assert (tmp_path / "file").read_bytes() == b"first then"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")
def test_linux_takes_the_call(tmp_path):
    """It answers 0, which means that it has begun."""
    call = write_back._sync_file_range()
    assert call is not None
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"x" * 4096)

    answer = call(descriptor, 0, 4096, write_back._SYNC_FILE_RANGE_WRITE)

    os.close(descriptor)
    assert answer == 0


def test_a_system_that_refuses_is_left_alone(tmp_path):
    """A file that is closed cannot begin: nothing is raised, and what was written is there."""
    with (tmp_path / "file").open("wb") as file:
        file.write(b"first")
        descriptor = file.fileno()

    write_back.begin(descriptor, 0, 5)

    assert (tmp_path / "file").read_bytes() == b"first"
