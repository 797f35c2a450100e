"""Who is at the other end of a connection, and how gRPC calls them.

gRPC knows of a connection what it was told by the socket's name. The front gives its end of each
connection a name that holds the real peer; nobody else can connect there, so that it can be believed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote

_OURS = re.compile(r"unix(?:-abstract)?:(?:.*/)?antiphon-[0-9a-f]+_(\d+)_(\d+)_([^_/]+)")
_PLAIN = re.compile(r"ipv[46]:\[?([^\]]+)\]?:(\d+)")


@dataclass(frozen=True)
class Peer:
    """An address and a port. An IPv4 address within IPv6 stands as IPv4."""

    address: str
    port: int

    def __str__(self) -> str:
        """Return it as it is written in logs."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


def peer_at(address: str, port: int) -> Peer:
    """Return the peer that a socket names so. Raises ValueError where that is no address."""
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
        known = known.ipv4_mapped
    return Peer(str(known), port)


def name_of(secret: str, number: int, peer: Peer) -> str:
    """Return what the front calls a connection: secret: hexadecimal digits; number: of no other one."""
    return f"antiphon-{secret}_{number}_{peer.port}_{peer.address}"


def number_of(name: str) -> int | None:
    """Return the number within gRPC's name of a peer; none: the connection is no front's."""
    found = _OURS.fullmatch(unquote(name))
    return int(found[1]) if found else None


def peer_of(name: str) -> Peer | None:
    """Return the peer within gRPC's name of it, a front's or a plain one; none: a name of another form."""
    name = unquote(name)
    try:
        if found := _OURS.fullmatch(name):
            return peer_at(found[3], int(found[2]))
        if found := _PLAIN.fullmatch(name):
            return peer_at(found[1], int(found[2]))
    except ValueError:
        pass
    return None


def written(name: str) -> str:
    """Return gRPC's name of a peer as it is written in logs."""
    return str(peer_of(name) or name)[:200]


def address_of(name: str) -> str:
    """Return the address within gRPC's name of a peer; of IPv6 the /64, which one site has for itself.

    `ipv4:192.0.2.7:4711` is `192.0.2.7`; a name of another form stands for itself.
    """
    peer = peer_of(name)
    return name[:200] if peer is None else network_of(peer.address)


def network_of(address: str) -> str:
    """Return what one site has for itself: an address, of IPv6 the /64; another word stands for itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:200]
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
