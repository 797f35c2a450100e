"""Bytes in parts, written and hashed where they lie: tensors of a gigabyte need no second gigabyte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """The bytes of a file or a blob, one part after the other.

    parts: views of somebody's memory, who must not change it for as long as the content is in use.
    """

    parts: tuple[memoryview | bytes, ...]

    @property
    def size(self) -> int:
        """How many bytes."""
        return sum(memoryview(part).nbytes for part in self.parts)

    @property
    def sha256(self) -> str:
        """The hex SHA-256 of all of them."""
        hashed = hashlib.sha256()
        for part in self.parts:
            hashed.update(part)
        return hashed.hexdigest()

    def joined(self) -> bytes:
        """Return a copy in one piece."""
        return b"".join(self.parts)
