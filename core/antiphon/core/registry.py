"""Name → factory, through entry points: what a config can name, ours and anybody's.

A kind of strategy is an entry-point group `antiphon.<kind>`; a member is a factory function whose typed
keyword arguments are the config's keys. Installing a distribution is enough to add a member.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from antiphon.core.errors import ConfigError

KINDS = ("aggregation", "server_opt", "codec", "scheduler", "policy", "format", "partition")


def members(kind: str) -> list[str]:
    """Return the installed members of `kind`, sorted by name."""
    return sorted({point.name for point in entry_points(group=f"antiphon.{kind}")})


# An entry point costs milliseconds to find and a signature as much to compile, and a round asks for a
# codec hundreds of times.
@cache
def factory(kind: str, name: str) -> Callable[..., Any]:
    """Load the factory called `name`. Raises ConfigError, listing what is installed."""
    for point in entry_points(group=f"antiphon.{kind}"):
        if point.name == name:
            loaded: Callable[..., Any] = point.load()
            return loaded
    near = get_close_matches(name, members(kind), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"no {kind} {name!r}; installed: {', '.join(members(kind))}.{hint}")


def signature(kind: str, name: str) -> dict[str, inspect.Parameter]:
    """Return the arguments a member takes, by name."""
    return dict(inspect.signature(factory(kind, name)).parameters)


def build(kind: str, name: str, arguments: Mapping[str, Any]) -> Any:
    """Call the factory with a config's arguments, checked strictly against its annotations.

    Raises ConfigError for an argument that it does not take, one that is missing, or a wrong type.
    """
    takes, checked = _checked(kind, name)
    unknown = sorted(set(arguments) - set(takes))
    if unknown:
        listed = ", ".join(str(parameter) for parameter in takes.values()) or "no arguments"
        raise ConfigError(f"{kind}: {name} takes ({listed}), not {unknown}")
    try:
        return checked(**arguments)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        got = first.get("input")
        raise ConfigError(f"{kind}: {name}.{where}: {first['msg']} (got {got!r})") from None


@cache
def _checked(kind: str, name: str) -> tuple[Mapping[str, inspect.Parameter], Callable[..., Any]]:
    """Return what a member takes, and its factory behind a check of the arguments' types."""
    make = factory(kind, name)
    checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(make)
    return inspect.signature(make).parameters, checked
