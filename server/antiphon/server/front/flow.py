"""One direction of a connection that is passed on: bytes go from one socket to another, through a pipe.

Linux moves them within the kernel (splice); what the pipe holds is all that is ever held, and a direction
at rest has no pipe. Where there is none, they are copied.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

PIECE_BYTES = 256 << 10
"""Bytes that are taken at once at most, and held where the other side does not take them."""

_KEPT = 16
_SET_SIZE = 1031  # F_SETPIPE_SZ, linux/fcntl.h
_COPIED_BYTES = 64 << 10


class Pipes:
    """Pipes that are empty and at hand. They belong to one thread."""

    def __init__(self, *, spliced: bool = sys.platform == "linux") -> None:
        """None yet. spliced: whether there are to be any."""
        self._spliced = spliced
        self._free: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int] | None:
        """Return an empty pipe, its reading end first; none: bytes must be copied."""
        if self._free:
            return self._free.pop()
        if not self._spliced:
            return None
        try:
            made = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # no descriptor is left
            return None
        _enlarge(made[1])
        return made

    def give_back(self, pipe: tuple[int, int]) -> None:
        """Take an empty pipe back."""
        if len(self._free) < _KEPT:
            self._free.append(pipe)
        else:
            discard(pipe)

    def close(self) -> None:
        """Close those at hand."""
        while self._free:
            discard(self._free.pop())


def discard(pipe: tuple[int, int]) -> None:
    """Close a pipe with what it holds."""
    for end in pipe:
        os.close(end)


class Flow:
    """From `source` to `sink`, both without blocking. ended: nothing more comes, and all was passed on."""

    def __init__(self, source: socket.socket, sink: socket.socket, pipes: Pipes) -> None:
        """Nothing is under way."""
        self._source, self._sink, self._pipes = source, sink, pipes
        self._pipe: tuple[int, int] | None = None
        self._in_pipe = 0
        self._copied = b""
        self._dry = False
        self.ended = False

    @property
    def held(self) -> bool:
        """Whether bytes wait for the sink."""
        return bool(self._in_pipe or self._copied)

    @property
    def dry(self) -> bool:
        """Whether the source has ended."""
        return self._dry

    def move(self, most: int) -> int:
        """Pass on what can be; return the bytes taken from the source, `most` at most. Raises OSError."""
        taken = 0
        if self.held:
            self._drain()
        if not self.held and not self._dry and most > 0:
            taken = self._fill(min(most, PIECE_BYTES))
            if taken:
                self._drain()
        if self._dry and not self.held and not self.ended:
            self.ended = True
            self._sink.shutdown(socket.SHUT_WR)
        return taken

    def close(self) -> None:
        """Let go of what is held."""
        if self._pipe is not None:
            discard(self._pipe)
            self._pipe, self._in_pipe = None, 0
        self._copied = b""

    def _fill(self, most: int) -> int:
        self._pipe = self._pipes.take()
        taken = 0
        try:
            if self._pipe is None:
                self._copied = self._source.recv(min(most, _COPIED_BYTES))
                taken = len(self._copied)
            else:
                taken = os.splice(
                    self._source.fileno(), self._pipe[1], most, flags=os.SPLICE_F_NONBLOCK
                )
                self._in_pipe = taken
            self._dry = taken == 0
        except (BlockingIOError, InterruptedError):
            pass
        finally:
            if not taken:
                self._rest()
        return taken

    def _drain(self) -> None:
        with suppress(BlockingIOError, InterruptedError):
            if self._in_pipe and self._pipe is not None:
                self._in_pipe -= os.splice(
                    self._pipe[0],
                    self._sink.fileno(),
                    self._in_pipe,
                    flags=os.SPLICE_F_NONBLOCK,
                )
            elif self._copied:
                self._copied = self._copied[self._sink.send(self._copied) :]
        if not self.held:
            self._rest()

    def _rest(self) -> None:
        if self._pipe is not None:
            self._pipes.give_back(self._pipe)
            self._pipe = None


def _enlarge(pipe: int) -> None:
    import fcntl

    with suppress(OSError):  # a user has so much of it and no more
        fcntl.fcntl(pipe, _SET_SIZE, PIECE_BYTES)
