"""Decoding for the kinds of events that make up most of a journal.

`events.decode` compares every value with its type hint, at 14 µs an event and more for a large plan. Here
the hints are looked up once; an event in which anything is unusual goes to `events.decode`, so that what is
refused, and with which words, is the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from antiphon.core.events import (
    Evaluated,
    Event,
    RoundPlanned,
    UpdateReceived,
    decode,
    kind_of,
)
from antiphon.core.types import Plain

_PLAIN = frozenset({str, int, float, bool, type(None)})


def _holds(*types: type) -> Callable[[Any], bool]:
    known = frozenset(types)
    return lambda value: type(value) in known


def _is_measured(value: Any) -> bool:
    return type(value) is dict and all(type(each) is float for each in value.values())


def _is_names(value: Any) -> bool:
    return type(value) is list and all(type(each) is str for each in value)


def _is_plan(value: Any) -> bool:
    return type(value) is dict and all(
        type(task) is dict and _PLAIN.issuperset(map(type, task.values()))
        for task in value.values()
    )


_CHECKS: dict[object, Callable[[Any], bool]] = {
    str: _holds(str),
    int: _holds(int),
    float: _holds(float),
    int | None: _holds(int, type(None)),
    float | None: _holds(float, type(None)),
    tuple[str, ...]: _is_names,
    Mapping[str, float]: _is_measured,
    Mapping[str, Mapping[str, Plain]]: _is_plan,
}
_KINDS = {kind_of(each): each for each in (Evaluated, UpdateReceived, RoundPlanned)}
_FIELDS = {
    kind: {name: _CHECKS.get(hint) for name, hint in get_type_hints(made).items()}
    for kind, made in _KINDS.items()
}


def decode_quickly(kind: str, body: str) -> Event:
    """Return what `events.decode` returns. Raises RunFolderError as it does."""
    made: Callable[..., Event] | None = _KINDS.get(kind)
    # A number that is not finite is written as an object of this name.
    if made is None or "$float" in body:
        return decode(kind, body)
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return decode(kind, body)
    if not _is_usual(values, _FIELDS[kind]):
        return decode(kind, body)
    for name, value in values.items():
        if type(value) is list:
            values[name] = tuple(value)
    return made(**values)


def _is_usual(values: Any, fields: Mapping[str, Callable[[Any], bool] | None]) -> bool:
    # Fields with a default may be missing from what an older version wrote; then `events.decode` is asked.
    if type(values) is not dict or values.keys() != fields.keys():
        return False
    return all(check is not None and check(values[name]) for name, check in fields.items())
