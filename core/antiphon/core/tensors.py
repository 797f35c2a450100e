"""Tensors in safetensors files and bytes: nothing of ours pickles.

`LazyTensors` reads one tensor at a time from a file, so that a coordinator can fold a hundred updates
without holding a hundred updates.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from antiphon.core.content import Content
from antiphon.core.errors import UpdateError
from antiphon.core.files import write_bytes
from antiphon.core.types import AnyArray, FloatArray, Params, State

_LITTLE_FLOAT32 = np.dtype("<f4")
_MOST_DIMENSIONS = 32  # the fewest that a numpy in use allows
_WINDOW_BYTES = 1 << 20
_SMALL_BYTES = 1 << 16
_MOST_KEPT = 1 << 20  # bytes of a header
_MOST_BYTES = (1 << 63) - 1  # of an array as numpy counts it: a side of 0 as if it were 1


class LazyTensors(Mapping[str, FloatArray]):
    """A safetensors file as a mapping; each look-up reads that tensor from the disk.

    The file's header is read once, and no file stays open or mapped. A small file is read once as a whole:
    opening it for each tensor would cost more than its bytes.
    """

    def __init__(self, path: Path) -> None:
        """Read the names, no tensor. Raises UpdateError for anything but safetensors of float32."""
        self.path = path
        try:
            with safe_open(path, framework="np"):  # compares the header with the file
                self._places = _places(path)
            small = path.stat().st_size <= _SMALL_BYTES
            self._content = path.read_bytes() if small else None
        except SafetensorError as error:
            raise UpdateError(f"not a safetensors file: {error}") from error

    def __getitem__(self, name: str) -> FloatArray:
        """Read one tensor."""
        place = self._places[name]
        if self._content is not None:
            # Whoever looks it up may write to it.
            return _taken(self._content, place, self.path).copy()
        tensor: FloatArray = np.empty(place.shape, _LITTLE_FLOAT32)
        if tensor.size:
            # Unlike np.fromfile, this lets other threads run while it reads.
            with self.path.open("rb", buffering=0) as file:
                file.seek(place.offset)
                _fill(tensor, file, self.path)
        return tensor

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._places)

    def passing(self) -> Iterator[tuple[str, FloatArray]]:
        """Yield every tensor with its name, in the order of the file, read in few and large pieces.

        A tensor is valid until the next one is asked for: they share one window of memory.
        """
        if self._content is not None:
            for name in chain.from_iterable(self._windows()):
                yield name, _taken(self._content, self._places[name], self.path)
            return
        window: AnyArray = np.empty(0, np.uint8)
        with self.path.open("rb", buffering=0) as file:
            for names in self._windows():
                start, end = self._places[names[0]].offset, self._places[names[-1]].end
                if window.size < end - start:
                    window = np.empty(end - start, np.uint8)
                file.seek(start)
                _fill(window[: end - start], file, self.path)
                for name in names:
                    place = self._places[name]
                    content = window[place.offset - start : place.end - start]
                    yield name, content.view(_LITTLE_FLOAT32).reshape(place.shape)

    def _windows(self) -> Iterator[list[str]]:
        """Yield names whose tensors lie one after the other, in as many bytes as a window has, or alone."""
        names: list[str] = []
        for name in sorted(self._places, key=lambda name: self._places[name].offset):
            if names and self._places[name].end - self._places[names[0]].offset > _WINDOW_BYTES:
                yield names
                names = []
            names.append(name)
        if names:
            yield names


def _taken(content: bytes, place: _Place, path: Path) -> FloatArray:
    if place.end > len(content):
        raise _too_short(path, place.end - len(content))
    numbers = math.prod(place.shape)
    flat = np.frombuffer(content, _LITTLE_FLOAT32, numbers, place.offset if numbers else 0)
    return flat.reshape(place.shape)


def _too_short(path: Path, missing: int) -> UpdateError:
    return UpdateError(f"{path.name} has become {missing} bytes too short")


def _fill(tensor: AnyArray, file: FileIO, path: Path) -> None:
    memory = tensor.reshape(-1).view(np.uint8).data
    while memory.nbytes:
        read = file.readinto(memory)
        if not read:
            raise _too_short(path, memory.nbytes)
        memory = memory[read:]


@dataclass(frozen=True)
class _Place:
    """Where in its file a tensor begins and ends, in bytes, and its shape."""

    offset: int
    end: int
    shape: tuple[int, ...]


def _places(path: Path) -> Mapping[str, _Place]:
    # The format: the header's size as a little-endian uint64, the header as JSON, then the tensors.
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    # Clients of a run send the same header: it is understood once.
    return _understood(header) if len(header) <= _MOST_KEPT else _understood.__wrapped__(header)


@lru_cache(maxsize=8)
def _understood(text: bytes) -> Mapping[str, _Place]:
    header, begin = json.loads(text), 8 + len(text)
    places = {}
    for name in sorted(set(header) - {"__metadata__"}):
        tensor = header[name]
        if tensor["dtype"] != "F32":
            raise UpdateError(f"{name[:80]} is {tensor['dtype']}, expected float32 (F32)")
        shape = _possible(name, tensor["shape"])
        start, end = tensor["data_offsets"]
        places[name] = _Place(begin + start, begin + end, shape)
    return MappingProxyType(places)


def _possible(name: str, sides: Sequence[int]) -> tuple[int, ...]:
    """Return a shape that numpy can hold; safetensors allows more, such as 0 × 2⁶³."""
    too_large = 4 * math.prod(max(side, 1) for side in sides) > _MOST_BYTES
    if len(sides) > _MOST_DIMENSIONS or too_large:
        raise UpdateError(f"{name[:80]} has the shape {str(sides)[:80]}, which no array can have")
    return tuple(sides)


def to_content(tensors: Mapping[str, AnyArray]) -> Content:
    """Return the safetensors file of tensors without copying them, where all are float32.

    The same tensors always give the same bytes, those of the safetensors library.
    """
    held = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    if any(tensor.dtype != _LITTLE_FLOAT32 for tensor in held.values()):
        return Content((save(held),))
    parts = [each.reshape(-1).view(np.uint8).data for each in held.values() if each.size]
    return Content((_header(held), *parts))


def to_bytes(tensors: Mapping[str, AnyArray]) -> bytes:
    """Pack tensors into safetensors bytes; the same tensors always give the same bytes."""
    return to_content(tensors).joined()


def _header(tensors: Mapping[str, AnyArray]) -> bytes:
    """Return how a safetensors file of float32 tensors begins; see _places for the format."""
    described, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        described[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (start, end)}
    text = json.dumps(
        described, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
    padded = text.ljust(-(-len(text) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded


def from_bytes(content: bytes) -> dict[str, AnyArray]:
    """Unpack safetensors bytes. Raises UpdateError for anything else."""
    try:
        tensors: dict[str, AnyArray] = load(content)
    except (SafetensorError, KeyError, ValueError) as error:  # a dtype or a shape that numpy lacks
        raise UpdateError(f"not safetensors that numpy can read: {error}") from error
    return tensors


def write_tensors(path: Path, tensors: State) -> None:
    """Write a safetensors file, whole or not at all."""
    write_bytes(path, to_content(tensors))


def check_against(reference: Params, received: Params, *, max_norm: float | None = None) -> None:
    """Compare what arrived with what the round asked for: names, dtypes, shapes, finite, bounded.

    Raises UpdateError naming the first difference. `max_norm` bounds the L2 norm over all tensors.
    """
    missing, extra = sorted(set(reference) - set(received)), sorted(set(received) - set(reference))
    if missing or extra:
        raise UpdateError(f"wrong tensors: missing {missing[:3]}, not asked for {extra[:3]}")
    squares = 0.0
    passing = received.passing() if isinstance(received, LazyTensors) else received.items()
    for name, got in passing:
        want = reference[name]
        if got.dtype != want.dtype or got.shape != want.shape:
            raise UpdateError(
                f"{name}: got {got.dtype} {got.shape}, the round asked for {want.dtype} {want.shape}"
            )
        square = float(np.vdot(got, got))
        # NaN and Inf always show here; so may what is finite and giant, which is looked at again.
        if not math.isfinite(square) and not np.isfinite(got).all():
            raise UpdateError(
                f"{name} holds NaN or Inf: training has diverged, lower the learning rate"
            )
        squares += square
    if max_norm is not None and squares > max_norm**2:
        raise UpdateError(
            f"the update's norm is {squares**0.5:.3g}, the round allows {max_norm:.3g}: lower the learning "
            "rate, or raise training.max_update_norm"
        )
