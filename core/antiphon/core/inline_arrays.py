"""Small arrays inside a protobuf message: float32, and uint32 whose rising runs cost a byte a number."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import UpdateError
from antiphon.core.types import AnyArray
from antiphon.v1 import update_pb2

MAX_ARRAYS = 4096
MAX_NAME = 200
_FEWEST_TO_RISE = 2


def pack_arrays(arrays: Mapping[str, AnyArray]) -> update_pb2.Arrays:
    """Return the message; the same arrays always give the same. Raises TypeError for another dtype."""
    return update_pb2.Arrays(array=[_packed(name, arrays[name]) for name in sorted(arrays)])


def unpack_arrays(message: update_pb2.Arrays, most: int) -> dict[str, AnyArray]:
    """Return the arrays. most: numbers of all together. Raises UpdateError for what is not well formed."""
    if len(message.array) > MAX_ARRAYS:
        raise UpdateError(f"{len(message.array)} arrays, expected {MAX_ARRAYS} at most")
    arrays: dict[str, AnyArray] = {}
    for each in message.array:
        if each.name in arrays or len(each.name) > MAX_NAME:
            raise UpdateError(f"array {each.name[:80]!r} twice, or its name is too long")
        arrays[each.name] = _unpacked(each)
    if (numbers := sum(each.size for each in arrays.values())) > most:
        raise UpdateError(f"arrays of {numbers} numbers, expected {most} at most")
    return arrays


def _packed(name: str, array: AnyArray) -> update_pb2.Array:
    side = () if array.ndim == 1 else array.shape
    flat = array.reshape(-1)
    if array.dtype == np.float32:
        return update_pb2.Array(name=name, side=side, real=flat.tolist())
    if array.dtype != np.uint32:
        raise TypeError(f"array {name} is {array.dtype}, expected float32 or uint32")
    wide: npt.NDArray[np.int64] = flat.astype(np.int64)
    gaps: npt.NDArray[np.int64] = wide - np.concatenate([[0], wide[:-1]])
    if len(flat) >= _FEWEST_TO_RISE and (gaps[1:] > 0).all():
        return update_pb2.Array(name=name, side=side, gap=gaps.tolist())
    return update_pb2.Array(name=name, side=side, whole=flat.tolist())


def _unpacked(message: update_pb2.Array) -> AnyArray:
    said = [len(message.real), len(message.whole), len(message.gap)]
    if sum(map(bool, said)) > 1:
        raise UpdateError(f"array {message.name!r} is of more than one dtype")
    values: AnyArray
    if message.gap:
        values = _rising(message)
    elif message.whole:
        values = np.array(message.whole, dtype=np.uint32)
    else:
        values = np.array(message.real, dtype=np.float32)
    shape = tuple(message.side) or (len(values),)
    if math.prod(shape) != len(values):
        raise UpdateError(f"array {message.name!r} has {len(values)} numbers for the sides {shape}")
    return values.reshape(shape)


def _rising(message: update_pb2.Array) -> AnyArray:
    gaps = np.array(message.gap, dtype=np.uint64)
    rising = np.cumsum(gaps)
    if (gaps[1:] == 0).any() or rising[-1] > np.iinfo(np.uint32).max:
        raise UpdateError(f"array {message.name!r} does not rise strictly below 2^32")
    return rising.astype(np.uint32)
