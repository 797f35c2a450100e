"""The place behind the front that nobody else can reach."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from antiphon.core.errors import UserError
from antiphon.server.front.inside import Inside
from antiphon.server.front.peers import Peer, number_of, peer_of


@pytest.fixture(params=[True, False], ids=["hidden", "named"])
def inside(request):
    """Such a place, as Linux has it and as other systems do."""
    if request.param and sys.platform != "linux":
        pytest.skip("only Linux hides it")
    made = Inside(hidden=request.param)
    yield made
    made.close()


def test_only_its_owner_gets_there(inside):
    """The folder is for nobody else."""
    folder = Path(inside.address.removeprefix("unix:")).parent

    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


def test_connecting_says_who_it_is_for(inside):
    """The other end sees the peer's name; on the disk nothing is left of it."""
    with socket.socket(socket.AF_UNIX) as server:
        path = Path(inside.address.removeprefix("unix:"))
        server.bind(str(path))
        server.listen()
        inside.hide()
        with inside.connect(7, Peer("2001:db8::1", 80)), server.accept()[0] as line:
            name = line.getpeername()

    text = name.decode().replace("\0", "unix-abstract:") if isinstance(name, bytes) else name
    text = text if text.startswith("unix") else f"unix:{text}"
    assert (number_of(text), peer_of(text)) == (7, Peer("2001:db8::1", 80))
    assert [each.name for each in path.parent.glob("*")] in ([], ["grpc"])


def test_a_path_that_is_too_long(monkeypatch, tmp_path):
    """It is said so, with what to do."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))

    with pytest.raises(UserError, match="set TMPDIR"):
        Inside()

    assert list(folder.iterdir()) == []
