"""JSON as we write it: without the `NaN` and `Infinity` of Python, which JSON does not know."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return a plain value as JSON, on one line unless indented; a number that is not finite is null."""
    return json.dumps(finite(value), allow_nan=False, indent=indent, sort_keys=sort_keys)


def finite(value: Any) -> Any:
    """Return a plain value with None in the place of every number that JSON does not have."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {_key(name): finite(each) for name, each in value.items()}
        case list() | tuple():
            return [finite(each) for each in value]
    return value


def _key(key: Any) -> Any:
    """Return a key; JSON's are texts, and a float that is not finite would be written as it must not."""
    return str(key) if isinstance(key, float) else key
