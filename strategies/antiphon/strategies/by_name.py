"""Tensors that are computed at each look-up: together they may be larger than the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


class ByName(Mapping[str, Any]):
    """tensor(name) for each of the names."""

    def __init__(self, names: Iterable[str], tensor: Callable[[str], Any]) -> None:
        """Compute nothing yet."""
        self._names, self._tensor = dict.fromkeys(names), tensor

    def __getitem__(self, name: str) -> Any:
        """Compute one tensor. Raises KeyError for another name."""
        if name not in self._names:
            raise KeyError(name)
        return self._tensor(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._names)
