"""The connections of one of this process's gRPC servers, seen from below: who, how many bytes, and the end.

gRPC has no call for any of it. But its sockets are this process's own, and what a process shuts down is
shut down, whoever reads from it: gRPC sees a line that was cut. Linux tells of a process's sockets in
/proc, and of a socket's bytes in TCP_INFO; elsewhere nothing is seen, and no connection is cut.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import unquote

Peer = tuple[str, int]
"""Address and port of the other end. An IPv4 address within IPv6 stands as IPv4."""

_FOLDER = "/proc/self/fd"
_BYTES_RECEIVED = 128  # of struct tcp_info, linux/tcp.h
_INFO_BYTES = _BYTES_RECEIVED + 8
_COUNT = struct.Struct("=Q")


@dataclass(frozen=True)
class Connection:
    """An open connection. received: bytes that have arrived, as the kernel counts them."""

    descriptor: int
    peer: Peer
    received: int


class Sockets:
    """What is connected to a port that this process listens on."""

    def __init__(self, port: int) -> None:
        """Nothing has been looked at."""
        self._port = port
        self._known: dict[
            tuple[int, str], Peer | None
        ] = {}  # by number and inode; none: of no interest

    def connections(self) -> list[Connection]:
        """Return what is connected now, in no order; empty off Linux. Beside the event loop, and one at
        a time: ten thousand take a tenth of a second.
        """
        known: dict[tuple[int, str], Peer | None] = {}
        found = []
        for descriptor, inode in _descriptors():
            peer = known[descriptor, inode] = self._peer(descriptor, inode)
            if peer is not None:
                found.append(Connection(descriptor, peer, _received(descriptor)))
        self._known = known
        return found

    def _peer(self, descriptor: int, inode: str) -> Peer | None:
        if (descriptor, inode) in self._known:
            return self._known[descriptor, inode]
        with _borrowed(descriptor) as line, suppress(OSError):  # it listens, or has just gone
            if line is not None and line.getsockname()[1] == self._port:
                return _peer(*line.getpeername()[:2])
        return None


@dataclass(frozen=True)
class Listener:
    """A listening socket."""

    descriptor: int

    def handle(self) -> socket.socket:
        """Return a handle of our own on it, to be closed. Raises OSError where it has gone."""
        return socket.socket(fileno=os.dup(self.descriptor))


def listeners(port: int) -> list[Listener]:
    """Return what listens on a port in this process; empty off Linux."""
    found = []
    for descriptor, _ in _descriptors():
        with _borrowed(descriptor) as line, suppress(OSError):
            if line is None or line.getsockname()[1] != port:
                continue
            if line.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.append(Listener(descriptor))
    return found


def cut(connection: Connection) -> bool:
    """End a connection; False: it had ended already."""
    with _borrowed(connection.descriptor) as line:
        if line is None:
            return False
        with suppress(OSError):
            if (
                _peer(*line.getpeername()[:2]) == connection.peer
            ):  # else the number is another's by now
                line.shutdown(socket.SHUT_RDWR)
                return True
    return False


def peer_of(name: str) -> Peer | None:
    """Return the peer that gRPC calls `ipv4:192.0.2.7:4711`; none: a name of another form."""
    found = re.fullmatch(r"ipv[46]:\[?([^\]]+)\]?:(\d+)", unquote(name))
    if found is None:
        return None
    try:
        return _peer(found[1], int(found[2]))
    except ValueError:
        return None


def _peer(address: str, port: int) -> Peer:
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
        known = known.ipv4_mapped
    return str(known), port


def _descriptors() -> Iterator[tuple[int, str]]:
    try:
        names = os.listdir(_FOLDER)
    except OSError:
        return
    for name in names:
        try:
            inode = os.readlink(f"{_FOLDER}/{name}")
        except OSError:
            continue
        if inode.startswith("socket:"):
            yield int(name), inode


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket | None]:
    """A handle of our own on an internet socket of somebody else's; none: it is no such thing."""
    try:
        line = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        yield None
        return
    with line:
        yield line if line.family in (socket.AF_INET, socket.AF_INET6) else None


def _received(descriptor: int) -> int:
    # Without a handle of our own, for speed: where the number has become another's, what it says is of no
    # harm, and the next look mends it.
    try:
        line = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, descriptor)
    except OSError:
        return 0
    try:
        info = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return 0
    finally:
        line.detach()
    return _COUNT.unpack_from(info, _BYTES_RECEIVED)[0] if len(info) == _INFO_BYTES else 0
