"""As much of HTTP/2 as it takes to misbehave: frames written by hand over TLS, nothing read unless asked.

For benchmarks.flood. A real client's library sends only what is allowed, and reads what arrives.
"""

from __future__ import annotations

import socket
import ssl
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM = 1, 3
"""Types of frames, as `frame` returns them."""
_DATA, _SETTINGS, _WINDOW_UPDATE, _CONTINUATION = 0, 4, 8, 9
_FROM = ("127.0.0.9", 0)
_END_STREAM, _END_HEADERS = 1, 4


class RawHttp2:
    """One connection. Streams are odd numbers, by the caller's choice."""

    def __init__(
        self, address: str, identity: Mapping[str, str] | None, settings: Mapping[int, int]
    ) -> None:
        """identity: key and certificate that are shown; settings: by number, as they are announced."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        if identity is not None:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(identity["key"] + identity["certificate"])
                file.flush()
                context.load_cert_chain(Path(file.name))
        host, _, port = address.rpartition(":")
        # From an address of its own, as a stranger's would be.
        plain = socket.create_connection((host, int(port)), 10.0, _FROM)
        self._socket = context.wrap_socket(plain)
        told = b"".join(struct.pack(">HI", number, value) for number, value in settings.items())
        self._socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, told))

    def headers(self, stream: int, path: str, *, whole: bool = True) -> None:
        """Begin a call; not whole: the block of headers goes on in CONTINUATION."""
        fields = {
            ":method": "POST",
            ":scheme": "https",
            ":path": path,
            ":authority": "flood",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = b"".join(field(name, value) for name, value in fields.items())
        self._socket.sendall(_frame(HEADERS, _END_HEADERS if whole else 0, stream, block))

    def more_headers(self, stream: int, block: bytes) -> None:
        """Go on with a block of headers, without an end."""
        self._socket.sendall(_frame(_CONTINUATION, 0, stream, block))

    def message(self, stream: int, content: bytes, *, end: bool = True) -> None:
        """Send one gRPC message."""
        framed = b"\0" + struct.pack(">I", len(content)) + content
        self._socket.sendall(_frame(_DATA, _END_STREAM if end else 0, stream, framed))

    def open_window(self, size: int) -> None:
        """Let the peer send so many bytes more on this connection."""
        self._socket.sendall(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", size)))

    def frame(self) -> tuple[int, int, int]:
        """Read one frame; return its type, flags and stream. Raises EOFError at the end."""
        head = self._exactly(9)
        self._exactly(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:9], "big")

    def _exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self._socket.recv(count - len(parts))
            if not part:
                raise EOFError
            parts += part
        return parts


def field(name: str, value: str) -> bytes:
    """Return a header field as a literal without indexing (RFC 7541, 6.2.2)."""
    return b"\0" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    return whole_number(len(text), 7) + text.encode()


def whole_number(value: int, prefix: int) -> bytes:
    """Return a number in HPACK's form (RFC 7541, 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([value])
    out, value = bytearray([most]), value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out) + bytes([value])


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
