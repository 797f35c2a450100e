"""Sockets that listen at HOST:PORT, as gRPC would have made them."""

from __future__ import annotations

import socket

from antiphon.core.errors import UserError

_BACKLOG = 4_096
_ANY = ("", "0.0.0.0", "::")


def listen_at(address: str) -> list[socket.socket]:
    """Listen at HOST:PORT, without blocking; port 0: any. All have one port. Raises UserError.

    A host is an IPv4 address, an IPv6 address in brackets, or a name: each of its addresses is listened
    at. 0.0.0.0 and [::] are every address of both kinds.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    made: list[socket.socket] = []
    try:
        for family, where in _places(host, int(port)):
            same = (where[0], made[0].getsockname()[1] if made else where[1], *where[2:])
            made.append(_listener(family, same, both=host in _ANY))
    except (OSError, ValueError) as error:
        for each in made:
            each.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on {address}: {reason}. Choose another port, or stop what has it"
        ) from None
    return made


def _places(host: str, port: int) -> list[tuple[int, tuple[str, int, *tuple[int, ...]]]]:
    if host in _ANY:
        if socket.has_dualstack_ipv6():
            return [(socket.AF_INET6, ("::", port))]
        return [(socket.AF_INET, ("0.0.0.0", port))]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((each[0], each[4]) for each in found))  # type: ignore[misc]


def _listener(family: int, where: tuple[str | int, ...], *, both: bool) -> socket.socket:
    line = socket.socket(family, socket.SOCK_STREAM)
    try:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            line.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        line.bind(where)
        line.listen(_BACKLOG)
        line.setblocking(False)
    except BaseException:
        line.close()
        raise
    return line
