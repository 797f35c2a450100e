"""`antiphon strategies`: the members of every kind, with their arguments."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from inspect import Parameter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from antiphon.core import registry
from antiphon.core.errors import ConfigError
from antiphon.core.json_text import json_text


@dataclass(frozen=True)
class _Member:
    """A member that can be loaded."""

    kind: str
    name: str
    arguments: tuple[Parameter, ...]
    summary: str


def list_strategies(*, as_json: bool, console: Console) -> None:
    """Print every kind with its members, arguments and first line of documentation.

    console: where it is said which members cannot be used, and why.
    """
    usable, unusable = _members()
    if as_json:
        _print_json(usable)
    else:
        _print_table(usable)
    for reason in unusable:
        console.print(f"[yellow]not usable:[/] {escape(reason)}", highlight=False, soft_wrap=True)


def _members() -> tuple[list[_Member], list[str]]:
    """Return the members that can be used, and what is wrong with the others."""
    usable, unusable = [], []
    for kind in registry.KINDS:
        for name in registry.members(kind):
            try:
                usable.append(_member(kind, name))
            except ConfigError as error:
                unusable.append(str(error))
    return usable, unusable


def _member(kind: str, name: str) -> _Member:
    lines = (registry.factory(kind, name).__doc__ or "").strip().splitlines()
    arguments = tuple(registry.signature(kind, name).values())
    return _Member(kind, name, arguments, lines[0] if lines else "")


def _print_json(usable: list[_Member]) -> None:
    listed: dict[str, dict[str, list[str]]] = {kind: {} for kind in registry.KINDS}
    for each in usable:
        listed[each.kind][each.name] = [str(argument) for argument in each.arguments]
    sys.stdout.write(json_text(listed) + "\n")


def _print_table(usable: list[_Member]) -> None:
    table = Table("kind", "name", "arguments", "what it does", box=None, pad_edge=False)
    for each in usable:
        table.add_row(
            each.kind, f"[bold]{escape(each.name)}[/]", _said(each.arguments), escape(each.summary)
        )
    Console().print(table)


def _said(arguments: tuple[Parameter, ...]) -> str:
    plain = (str(each.replace(kind=Parameter.POSITIONAL_OR_KEYWORD)) for each in arguments)
    return escape(", ".join(plain).replace("'", ""))
