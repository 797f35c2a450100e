"""Bytes that travel beside a message, named by their SHA-256."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Blob:
    """What a message says of the bytes beside it. sha256: hex, also its name; bytes: its size."""

    sha256: str
    bytes: int
    encoding: str


def blob_of(content: bytes, encoding: str) -> Blob:
    """Return the description of `content`. encoding: how it is read, see update.proto."""
    return Blob(hashlib.sha256(content).hexdigest(), len(content), encoding)
