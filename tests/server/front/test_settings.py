"""What the front relies on in gRPC: tried with frames by hand, on a bare server with our options."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from antiphon.core.channel import MAX_METADATA_BYTES, SERVER_OPTIONS, SETTINGS_TIMEOUT_S
from antiphon.server.front.lines import SETTLED_S

PATIENCE_S = 20.0
SETTINGS, HEADERS, CONTINUATION, ACK, END_HEADERS = 4, 1, 9, 1, 4
VIA = bytes([0x80 + 60])  # a field without a value, by its index in HPACK's own table
TIMEOUT = "grpc.http2.settings_timeout"

Scenario = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name: bytes, value: bytes) -> bytes:
    """Return a field as a literal (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call_with(fields: int) -> bytes:
    """Return the headers of a call with so many fields of one byte."""
    known = {b":method": b"POST", b":scheme": b"http", b":path": b"/x/y", b":authority": b"x"}
    more = {b"te": b"trailers", b"content-type": b"application/grpc"}
    block = b"".join(field(*each) for each in (known | more).items()) + VIA * fields
    parts = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    kinds = [HEADERS] + [CONTINUATION] * len(parts)
    ends = [0] * (len(parts) - 1) + [END_HEADERS]
    return b"".join(frame(k, e, 1, p) for k, e, p in zip(kinds, ends, parts, strict=False))


def talk(scenario: Scenario, timeout_ms: int) -> tuple[Any, list[int]]:
    """Talk to a server by hand; return what comes of it, and how many fields each call had."""

    class Counting(grpc.GenericRpcHandler):
        def service(self, details: Any) -> None:
            counted.append(len(details.invocation_metadata))

    counted: list[int] = []

    async def run() -> Any:
        options = [*dict([*SERVER_OPTIONS, (TIMEOUT, timeout_ms)]).items()]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((Counting(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        try:
            return await asyncio.wait_for(scenario(reader, writer), PATIENCE_S)
        finally:
            writer.close()
            await server.stop(None)

    return asyncio.run(run()), counted


async def to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    return await reader.read(-1)


def test_who_does_not_acknowledge_the_settings_is_cut_off():
    """gRPC ends such a connection in the time that our options say."""
    assert TIMEOUT in dict(SERVER_OPTIONS)

    read, _ = talk(to_the_end, timeout_ms=100)

    assert b"settings_timeout" in read


def test_the_front_waits_for_longer():
    """A connection is settled only when gRPC would have ended it."""
    assert dict(SERVER_OPTIONS)[TIMEOUT] == SETTINGS_TIMEOUT_S * 1000 < SETTLED_S * 1000


def test_blocks_of_headers_have_an_end_once_the_settings_are_acknowledged():
    """From then on no more fields than were announced reach the interpreter, however many are sent."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(SETTINGS, ACK, 0) + call_with(20_000))
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            if int.from_bytes(head[5:], "big"):  # of our call
                return

    _, counted = talk(answered, timeout_ms=60_000)

    most = MAX_METADATA_BYTES // 32  # bytes that a field counts for beside its own
    assert [each for each in counted if each > most] == []
