"""What is fuzzed: a decoder, valid inputs to begin with, and the errors that it documents."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

Proto = TypeVar("Proto", bound=Message)


class Target(NamedTuple):
    """A decoder. decode: takes any bytes; seeds: makes valid inputs; errors: what it may raise;
    words: pieces of its language, which a mutation may put in.
    """

    decode: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    errors: tuple[type[Exception], ...]
    words: tuple[bytes, ...] = ()


def memory_folder() -> str | None:
    """Return a folder in memory, where there is one: much of what is fuzzed waits for the disk else."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@functools.cache
def scratch() -> Path:
    """Return a folder of this process, for decoders that read files."""
    given = os.environ.get(
        "ANTIPHON_FUZZ_SCRATCH"
    )  # of whoever removes it, should this process die
    folder = Path(tempfile.mkdtemp(prefix="antiphon-fuzz-", dir=given or memory_folder()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def written(name: str, content: bytes) -> Path:
    """Write a file into `scratch` and return its path."""
    path = scratch() / name
    path.write_bytes(content)
    return path


def message(kind: type[Proto], content: bytes) -> Proto | None:
    """Parse a message as gRPC does before any code of ours sees it; none: gRPC refuses it."""
    parsed = kind()
    try:
        parsed.ParseFromString(content)
    except DecodeError:
        return None
    return parsed


def joined(parts: Sequence[bytes]) -> bytes:
    """Pack several inputs of a decoder into one: each behind its length, uint16, little-endian."""
    return b"".join(struct.pack("<H", len(part)) + part for part in parts)


def parted(content: bytes) -> list[bytes]:
    """Return the parts of any bytes, as `joined` would have packed them; the last may be cut."""
    parts = []
    while content:
        size = int.from_bytes(content[:2], "little")
        parts.append(content[2 : 2 + size])
        content = content[2 + size :]
    return parts
