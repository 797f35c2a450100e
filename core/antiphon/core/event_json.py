"""How events are written in a journal: a kind, which is the class name in snake case, and a JSON object.

`decode` is strict: an unknown kind, an unknown field or a value of another type is refused, for another
version wrote it. JSON has no non-finite numbers: NaN and the infinities become {"$float": "nan" | "inf" |
"-inf"} and come back as they were.

A journal of a large fleet has hundreds of thousands of events, so the type hints are turned into checks
once, when this module is imported.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic_core import from_json

from antiphon.core.errors import RunFolderError
from antiphon.core.events import Event

_WAY_OUT = "restore the journal from a copy, or start the run anew"
_NON_FINITE = ("nan", "inf", "-inf")
_MARK = "$float"

Reader = Callable[[Any], Any]
"""Gives a value of JSON as its field has it. Raises TypeError for a value of another type."""


def kind_of(event: type[Event]) -> str:
    """Return the name under which a class of events stands in the journal: `run_started`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower()


def encode(event: Event) -> tuple[str, str]:
    """Return an event's kind and its fields as one JSON object (ASCII)."""
    kind = _KIND_OF[type(event)]
    fields = {name: _to_json(getattr(event, name)) for name, _, _ in _FIELDS[kind]}
    return kind, json.dumps(fields, allow_nan=False, separators=(",", ":"))


def decode(kind: str, body: str) -> Event:
    """Return the event that `encode` wrote.

    Raises RunFolderError for a kind, a field or a value that this version does not know.
    """
    fields = _FIELDS.get(kind)
    if fields is None:
        raise RunFolderError(
            f"the journal holds an event {kind!r}, which this version of Antiphon does not know; "
            "it was written by a newer one: upgrade Antiphon to read it"
        )
    try:
        values = _parsed(body)
        if type(values) is dict and len(values) == len(fields):
            for name, exact, read in fields:
                value = values[name]
                if type(value) is not exact:
                    values[name] = read(value)
            event: Event = object.__new__(_MADE[kind])
            event.__dict__.update(values)  # what the class would do field by field
            return event
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        pass  # it is looked at again, field by field, for the words that tell what is wrong
    return _decoded(kind, body)


def _decoded(kind: str, body: str) -> Event:
    """Return an event of which anything is unusual: a field is missing that an older version had not."""
    made, values = _MADE[kind], _checked_names(kind, body)
    event: Event = made(**{name: _read(kind, name, each) for name, each in values.items()})
    return event


def _to_json(value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case Mapping():
            return {str(name): _to_json(each) for name, each in value.items()}
        case tuple() | list():
            return [_to_json(each) for each in value]
        case Integral():  # numpy's numbers are registered with these, and json refuses them
            return int(value)
        case Real():
            number = float(value)
            return number if math.isfinite(number) else {_MARK: repr(number)}
    raise TypeError(f"an event cannot hold {type(value).__name__}: {value!r}")


def _from_json(values: dict[str, Any]) -> Any:
    number = values.get(_MARK)
    return float(number) if len(values) == 1 and number in _NON_FINITE else values


def _parsed(body: str) -> Any:
    # A hook is called for each object, and almost no event holds a number that is not finite.
    if _MARK in body:
        return json.loads(body, object_hook=_from_json)
    # Twice as fast as json, and as exact; json has the words for what is wrong, and reads a lone surrogate.
    try:
        return from_json(body)
    except (ValueError, TypeError):
        return json.loads(body)


def _checked_names(kind: str, body: str) -> dict[str, Any]:
    """Return the fields of an event; their names are known, and none is missing that has no default."""
    try:
        values = _parsed(body)
    except (ValueError, RecursionError) as error:
        raise RunFolderError(
            f"the journal is damaged: {kind} is not valid JSON ({error}); {_WAY_OUT}"
        ) from None
    if not isinstance(values, dict):
        raise RunFolderError(
            f"the journal is damaged: {kind} is no JSON object, got {body[:80]!r}; {_WAY_OUT}"
        )
    known = dataclasses.fields(_MADE[kind])
    unknown = sorted(set(values) - {each.name for each in known})
    if unknown:
        raise RunFolderError(
            f"the journal's {kind} has fields that this version of Antiphon does not know: "
            f"{', '.join(unknown)}; it was written by a newer one: upgrade Antiphon to read it"
        )
    required = [
        each.name
        for each in known
        if each.default is each.default_factory is dataclasses.MISSING and each.name not in values
    ]
    if required:
        raise RunFolderError(
            f"the journal is damaged: {kind} lacks {', '.join(required)}; {_WAY_OUT}"
        )
    return values


def _read(kind: str, name: str, value: Any) -> Any:
    hint = _HINTS[kind][name]
    try:
        return _reader(hint)(value)
    except (TypeError, OverflowError):  # OverflowError: an integer that no float holds
        expected = hint.__name__ if isinstance(hint, type) else hint
        raise RunFolderError(
            f"the journal is damaged: {kind}.{name} should be {expected}, got {value!r}; {_WAY_OUT}"
        ) from None


def _reader(hint: Any) -> Reader:
    """Return what reads the values of a type hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(frozenset(arguments))
    if origin is Literal:
        return _literal(arguments)
    if origin is tuple:
        return _names(_reader(arguments[0]), arguments[0])
    if origin is Mapping:
        return _by_name(arguments[1])
    return _number if hint is float else _exactly(hint)


def _exactly(hint: type) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not hint:
            raise TypeError(hint)
        return value

    return read


def _number(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise TypeError(float)
    return float(value)


def _one_of(known: frozenset[type]) -> Reader:
    return lambda value: value if type(value) in known else _number(value)


def _literal(known: tuple[Any, ...]) -> Reader:
    def read(value: Any) -> Any:
        if value not in known:
            raise TypeError(known)
        return value

    return read


def _names(read: Reader, exact: type) -> Reader:
    usual = {exact}

    def each(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise TypeError(tuple)
        return tuple(value) if usual.issuperset(map(type, value)) else tuple(map(read, value))

    return each


def _by_name(hint: Any) -> Reader:
    read, usual = _reader(hint), frozenset(get_args(hint) or (hint,))

    def each(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise TypeError(dict)
        if usual.issuperset(map(type, value.values())):
            return value
        return {name: read(one) for name, one in value.items()}

    return each


_KIND_OF: dict[type[Event], str] = {each: kind_of(each) for each in get_args(Event)}
_MADE: dict[str, Any] = {kind: made for made, kind in _KIND_OF.items()}
_HINTS: dict[str, dict[str, Any]] = {kind: get_type_hints(made) for kind, made in _MADE.items()}
_FIELDS: dict[str, tuple[tuple[str, Any, Reader], ...]] = {
    kind: tuple((name, hint, _reader(hint)) for name, hint in hints.items())
    for kind, hints in _HINTS.items()
}
