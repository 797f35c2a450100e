"""Bytes that travel beside a message, named by their SHA-256."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.core.content import Content


@dataclass(frozen=True)
class Blob:
    """What a message says of the bytes beside it. sha256: hex, also its name; bytes: its size."""

    sha256: str
    bytes: int
    encoding: str


@dataclass(frozen=True)
class ModelChange:
    """Another way to a model than its bytes. since: hex SHA-256 of the model to which `blob`, the packed
    change, is added; empty, with no blob: it is the untouched model, which follows from the seed.
    """

    since: str = ""
    blob: Blob | None = None


def blob_of(content: bytes | Content, encoding: str) -> Blob:
    """Return the description of `content`. encoding: how it is read, see update.proto."""
    whole = content if isinstance(content, Content) else Content((content,))
    return Blob(whole.sha256, whole.size, encoding)
