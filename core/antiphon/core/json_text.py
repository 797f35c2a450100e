"""JSON as we write it: without the `NaN` and `Infinity` of Python, which JSON does not know."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

_SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def json_text(
    value: Any,
    *,
    indent: int | None = None,
    sort_keys: bool = False,
    default: Callable[[Any], str] | None = None,
) -> str:
    """Return a plain value as JSON, on one line unless indented; a number that is not finite is null.

    default: gives the text of what is no plain value; without, that raises TypeError.
    """
    plain = finite(value)
    return json.dumps(plain, allow_nan=False, indent=indent, sort_keys=sort_keys, default=default)


def is_finite(value: Any) -> bool:
    """Say whether JSON has every number in a plain value."""
    others: list[float] = []
    _replaced(value, others.append)
    return not others


def finite(value: Any) -> Any:
    """Return a plain value with None in the place of every number that JSON does not have."""
    return _replaced(value, lambda number: None)


def spelled(value: Any) -> Any:
    """Return a plain value with a text in the place of each: `NaN`, `Infinity`, `-Infinity`.

    For messages whose reader must tell them from what was not measured; `number_of` reads them.
    """
    return _replaced(value, _spelling)


def number_of(value: Any) -> float | None:
    """Return the number that a value of JSON stands for; none: it is no number, however spelled."""
    if isinstance(value, str):
        return _SPELLED.get(value)
    return float(value) if type(value) in (int, float) else None


def _spelling(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _replaced(value: Any, other: Callable[[float], Any]) -> Any:
    """Return a plain value with `other` of each number that is not finite."""
    match value:
        case float():
            return value if math.isfinite(value) else other(value)
        case Mapping():
            return {_key(name): _replaced(each, other) for name, each in value.items()}
        case list() | tuple():
            return [_replaced(each, other) for each in value]
    return value


def _key(key: Any) -> Any:
    """Return a key; JSON's are texts, and a float that is not finite would be written as it must not."""
    return str(key) if isinstance(key, float) else key
