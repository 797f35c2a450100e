"""`antiphon strategies`: the members of every kind, with their arguments."""

from __future__ import annotations

import json
import sys
from inspect import Parameter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from antiphon.core import registry


def list_strategies(*, as_json: bool) -> None:
    """Print every kind with its members, arguments and first line of documentation."""
    if as_json:
        listed = {
            kind: {
                name: [str(each) for each in registry.signature(kind, name).values()]
                for name in registry.members(kind)
            }
            for kind in registry.KINDS
        }
        sys.stdout.write(json.dumps(listed) + "\n")
        return
    table = Table("kind", "name", "arguments", "what it does", box=None, pad_edge=False)
    for kind in registry.KINDS:
        for name in registry.members(kind):
            summary = (registry.factory(kind, name).__doc__ or "").strip().splitlines()[0]
            table.add_row(kind, f"[bold]{name}[/]", _arguments(kind, name), escape(summary))
    Console().print(table)


def _arguments(kind: str, name: str) -> str:
    parameters = registry.signature(kind, name).values()
    plain = (str(each.replace(kind=Parameter.POSITIONAL_OR_KEYWORD)) for each in parameters)
    return escape(", ".join(plain).replace("'", ""))
