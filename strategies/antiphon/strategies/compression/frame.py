"""The envelope of every packed update: which codec, which tensors, and whether a byte was changed.

    2 B "AC" · 1 B codec · 1 B version · 4 B CRC-32, little-endian · body

The checksum runs over the manifest (names and shapes, sorted), the first four bytes and the body: a
message is refused under any other manifest, and so is one with a flipped bit. It is no signature.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression.codec import Shapes

HEADER_BYTES = 8
_VERSION = 1


def size(shapes: Shapes) -> int:
    """Return the number of parameters in a manifest."""
    return sum(math.prod(shape) for shape in shapes.values())


def flatten(tensors: Params) -> tuple[FloatArray, Shapes]:
    """Return all tensors as one vector, in sorted order, and their shapes.

    Raises UpdateError for NaN and Inf, which no codec can send.
    """
    parts: list[FloatArray] = []
    shapes = {}
    for name in sorted(tensors):
        tensor = np.asarray(tensors[name], np.float32)
        if not np.isfinite(tensor).all():
            raise UpdateError(f"{name} holds NaN or Inf; an update must be finite to be packed")
        shapes[name] = tensor.shape
        parts.append(tensor.reshape(-1))
    return (np.concatenate(parts) if parts else np.zeros(0, np.float32)), shapes


def unflatten(flat: FloatArray, shapes: Shapes) -> dict[str, FloatArray]:
    """Cut a vector into tensors, in sorted order. Raises UpdateError where a value is not finite."""
    if not np.isfinite(flat).all():
        raise UpdateError("a packed update decodes to NaN or Inf")
    tensors, begin = {}, 0
    for name in sorted(shapes):
        end = begin + math.prod(shapes[name])
        tensors[name] = flat[begin:end].reshape(shapes[name])
        begin = end
    return tensors


def seal(codec: bytes, shapes: Shapes, body: bytes) -> bytes:
    """Put the envelope around a body; `codec` is one byte."""
    head = b"AC" + codec + bytes([_VERSION])
    return head + _checksum(head, shapes, memoryview(body)) + body


def unseal(codec: bytes, shapes: Shapes, content: bytes) -> memoryview:
    """Return the body. Raises UpdateError for another codec, another manifest or changed bytes."""
    head, view = content[:4], memoryview(content)
    if len(content) < HEADER_BYTES or head[:2] != b"AC":
        raise UpdateError(f"not a packed update: {len(content)} bytes that begin with {head!r}")
    if head[2:] != codec + bytes([_VERSION]):
        raise UpdateError(
            f"packed with codec {head[2:3]!r} version {head[3]}, "
            f"the round asked for {codec!r} version {_VERSION}"
        )
    if content[4:HEADER_BYTES] != _checksum(head, shapes, view[HEADER_BYTES:]):
        raise UpdateError(
            "the checksum of a packed update does not fit: it was changed on the way, "
            "or it was packed for other tensors than the round's"
        )
    return view[HEADER_BYTES:]


def expect_bytes(got: int, expected: int, what: str) -> None:
    """Raise UpdateError where a part is not as long as the header says."""
    if got != expected:
        raise UpdateError(f"{what}: got {got} bytes, expected {expected}")


def _checksum(head: bytes, shapes: Shapes, body: memoryview) -> bytes:
    manifest = "\n".join(f"{name}\0{tuple(shapes[name])}" for name in sorted(shapes))
    over_manifest = zlib.crc32(head, zlib.crc32(manifest.encode()))
    return zlib.crc32(body, over_manifest).to_bytes(4, "little")
