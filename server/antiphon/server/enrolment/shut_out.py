"""Addresses whose new connections the kernel turns away before this process hears of them.

A program of the kernel's packet filter, which a process may attach to its own listening socket (Linux,
socket(7), SO_ATTACH_FILTER): the first packet of a new connection is dropped where it comes from one of a
list of networks. What is connected stays connected.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator

MOST = 64
"""Networks that one program has at most."""

_ATTACH = 26  # SO_ATTACH_FILTER, which the socket module does not name
_NETWORK_HEADER = -0x100000  # SKF_NET_OFF: offsets count from the IP header
_LOAD_BYTE, _LOAD_WORD, _SHIFT_RIGHT, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x20, 0x74, 0x15, 0x06
_SOURCE_IPV4, _SOURCE_IPV6 = 12, 8  # of the headers
_PASS, _DROP = 0xFFFFFFFF, 0

_Step = tuple[int, int, int, int]  # operation, jump if true, jump if false, operand


def shut_out(listener: socket.socket, networks: Iterable[str]) -> None:
    """Turn new connections from these networks away, and from no other. Raises OSError.

    networks: IPv4 addresses, and of IPv6 the first half (`2001:db8::/64`); of more than MOST the last.
    """
    steps = list(_program([ipaddress.ip_network(each) for each in networks][-MOST:]))
    code = b"".join(struct.pack("=HBBI", op, yes, no, k & _PASS) for op, yes, no, k in steps)
    held = ctypes.create_string_buffer(code, len(code))
    pointer = struct.pack("HP", len(steps), ctypes.addressof(held))
    listener.setsockopt(socket.SOL_SOCKET, _ATTACH, pointer)


def _program(networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> Iterator[_Step]:
    ipv4 = [int(each.network_address) for each in networks if each.version == 4]
    ipv6 = [int(each.network_address) >> 64 for each in networks if each.version == 6]
    yield _LOAD_BYTE, 0, 0, _NETWORK_HEADER
    yield _SHIFT_RIGHT, 0, 0, 4
    yield _JUMP_IF_EQUAL, 0, 2 + 2 * len(ipv4), 4  # else: not this version
    yield _LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_IPV4
    for address in ipv4:
        yield _JUMP_IF_EQUAL, 0, 1, address
        yield _RETURN, 0, 0, _DROP
    yield _RETURN, 0, 0, _PASS
    for half in ipv6:
        yield _LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_IPV6
        yield _JUMP_IF_EQUAL, 0, 3, half >> 32
        yield _LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_IPV6 + 4
        yield _JUMP_IF_EQUAL, 0, 1, half & _PASS
        yield _RETURN, 0, 0, _DROP
    yield _RETURN, 0, 0, _PASS
