"""Where gRPC listens behind the front: a UNIX socket that nothing but this process can reach.

It is made in a folder of its own (0700). On Linux folder and name are gone as soon as gRPC listens: what
is left is a handle of this process, and nothing stays behind when it is killed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path

from antiphon.core.errors import UserError
from antiphon.server.front.peers import Peer, name_of

_BUFFER_BYTES = 1 << 20  # the system gives less, by its own limit
_LONGEST = 100  # bytes of a path; the system's limit is 104 or 108


class Inside:
    """One such place. hidden: whether its name is to go, which only Linux can do."""

    def __init__(self, *, hidden: bool = sys.platform == "linux") -> None:
        """Make the folder. Raises UserError where its path is too long for a socket."""
        self._folder = Path(tempfile.mkdtemp(prefix="antiphon-"))
        self._path = str(self._folder / "grpc")
        self._hidden, self._handle = hidden, -1
        self._secret, self._numbers = secrets.token_hex(8), count(1)
        if len(self._path.encode()) > _LONGEST:
            self.close()
            raise UserError(
                f"{self._path} is too long for a socket: set TMPDIR to a path below {_LONGEST - 30} bytes"
            )

    @property
    def address(self) -> str:
        """What gRPC is told to listen on."""
        return f"unix:{self._path}"

    def hide(self) -> None:
        """Take the name away, now that gRPC listens."""
        if self._hidden and os.path.isdir("/proc/self/fd"):
            self._handle = os.open(self._path, os.O_PATH | os.O_CLOEXEC)
            self._path = f"/proc/self/fd/{self._handle}"
            shutil.rmtree(self._folder, ignore_errors=True)

    def new_number(self) -> int:
        """Return a number that no connection had."""
        return next(self._numbers)

    def connect(self, number: int, peer: Peer) -> socket.socket:
        """Connect to gRPC on behalf of a peer, without blocking. Raises OSError; BlockingIOError: later."""
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.setblocking(False)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            name = name_of(self._secret, number, peer)
            if self._hidden:
                line.bind(f"\0{name}")
                line.connect(self._path)
            else:
                path = self._folder / name
                line.bind(str(path))
                try:
                    line.connect(self._path)
                finally:
                    path.unlink()
        except BaseException:
            line.close()
            raise
        return line

    def close(self) -> None:
        """Give everything back."""
        if self._handle >= 0:
            with suppress(OSError):
                os.close(self._handle)
            self._handle = -1
        shutil.rmtree(self._folder, ignore_errors=True)
