"""Flat names for nested states: `opt/0/momentum/<tensor>` is a state that safetensors can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def prefixed(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the same values under `prefix/`."""
    return {f"{prefix}/{name}": value for name, value in values.items()}


def under(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return what lies under `prefix/`, without the prefix."""
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in values.items() if name.startswith(start)}
