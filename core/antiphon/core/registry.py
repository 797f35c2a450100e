"""Name → factory, through entry points: what a config can name, ours and anybody's.

A kind of strategy is an entry-point group `antiphon.<kind>`; a member is a factory function whose typed
keyword arguments are the config's keys. Installing a distribution is enough to add a member.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call
from pydantic_core import ErrorDetails

from antiphon.core.errors import ConfigError

KINDS = (
    "method",
    "space",
    "trainer",
    "form",
    "base",
    "frames",
    "aggregation",
    "protection",
    "stage",
    "server_opt",
    "codec",
    "scheduler",
    "policy",
    "format",
    "partition",
)

GIVEN = ("config", "model")
"""Arguments of a factory that the program gives, no keys of a config: the whole config of the run, and at a
client the base model.
"""

HALVES = {
    "space": "client_space",
    "trainer": "client_trainer",
    "form": "client_form",
    "base": "client_base",
}
"""Kinds whose members have a second half at the client, and the kind in which it has the same name."""

_STRICT = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
_MISSING = ("missing_argument", "missing_keyword_only_argument")  # pydantic's names


def members(kind: str) -> list[str]:
    """Return the installed members of `kind`, sorted by name; not all of them need be loadable."""
    return sorted({point.name for point in entry_points(group=f"antiphon.{kind}")})


# An entry point costs milliseconds to find and a signature as much to compile, and a round asks for a
# codec hundreds of times.
@cache
def factory(kind: str, name: str) -> Callable[..., Any]:
    """Load the factory called `name`.

    Raises ConfigError where there is none, listing what is installed; where two distributions register
    the name; and where it cannot be loaded.
    """
    points = [each for each in entry_points(group=f"antiphon.{kind}") if each.name == name]
    # An editable install may leave the same metadata twice.
    distinct = list({(_distribution(each), each.value): each for each in points}.values())
    if not distinct:
        near = get_close_matches(name, members(kind), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no {kind} {name!r}; installed: {', '.join(members(kind))}.{hint}")
    if len(distinct) > 1:
        listed = " and by ".join(f"{_distribution(each)} ({each.value})" for each in distinct)
        raise ConfigError(
            f"{kind} {name!r} is registered by {listed}: uninstall one of them, or rename its entry point"
        )
    return _loaded(kind, distinct[0])


def signature(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """Return the arguments that a config can give a member, by name."""
    return _named(factory(kind, name))


def build(
    kind: str, name: str, arguments: Mapping[str, Any], given: Mapping[str, Any] | None = None
) -> Any:
    """Call the factory with a config's arguments, checked strictly against its annotations.

    given: what the program adds where the factory asks for it, see GIVEN. Raises ConfigError for an
    argument that it does not take, one that is missing, or a wrong type.
    """
    takes, asks, checked = _checked(kind, name)
    unknown = sorted(set(arguments) - set(takes))
    if unknown:
        listed = ", ".join(_said(each) for each in takes.values()) or "no arguments"
        raise ConfigError(f"{kind}: {name} takes ({listed}), not {unknown}")
    try:
        return checked(**arguments, **{each: (given or {})[each] for each in asks})
    except ValidationError as error:
        raise ConfigError(f"{kind}: {_wrong(name, takes, error.errors())}") from None


@cache
def _checked(
    kind: str, name: str
) -> tuple[Mapping[str, inspect.Parameter], tuple[str, ...], Callable[..., Any]]:
    """Return what a member takes of a config and of the program, and its factory behind a check."""
    make = factory(kind, name)
    asks = tuple(each for each in GIVEN if each in inspect.signature(make).parameters)
    return _named(make), asks, validate_call(config=_STRICT)(make)


def _named(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(make).parameters
    return {name: each for name, each in parameters.items() if name not in GIVEN}


def _loaded(kind: str, point: EntryPoint) -> Callable[..., Any]:
    try:
        loaded: Callable[..., Any] = point.load()
        inspect.signature(loaded)
        validate_call(config=_STRICT)(loaded)
    except Exception as error:  # whatever a module of somebody else's raises as it is imported
        raise ConfigError(
            f"{kind} {point.name!r} of {_distribution(point)} (entry point {point.value}) cannot be "
            f"loaded: {type(error).__name__}: {error}. Repair or uninstall that distribution"
        ) from error
    return loaded


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unnamed distribution"


def _wrong(
    name: str, takes: Mapping[str, inspect.Parameter], errors: Sequence[ErrorDetails]
) -> str:
    missing = [str(each["loc"][0]) for each in errors if each["type"] in _MISSING]
    if missing:
        needed = ", ".join(_said(takes[each]) for each in missing)
        example = ", ".join([f"kind: {name}", *(f"{each}: …" for each in missing)])
        return f"{name} needs ({needed}): write {{{example}}}"
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{name}.{where}: {first['msg']} (got {first.get('input')!r})"


def _said(parameter: inspect.Parameter) -> str:
    """Return an argument as it is written: annotations are text here, and repr would quote them."""
    return str(parameter).replace("'", "")
