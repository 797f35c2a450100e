"""A public class or union has a name that no other has, so that a reader never asks which one is meant."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.test_house_rules import REPOSITORY, sources

HALVES = {"Base", "Form", "Method", "Role", "Space", "Trainer"}
"""Kinds with two halves: what the coordinator knows of a member, and what a client does with it."""

MESSAGES = {"Evaluated"}
"""An event of the journal and an answer of the trainer's protocol: both are named so on the wire."""


def names(path: Path) -> Iterator[str]:
    """Yield the public classes that a file defines, and its unions of classes."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp | ast.Subscript):
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))


def homes() -> dict[str, list[str]]:
    """Return where each public name in the form of a type is defined."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        for name in names(path):
            if not name.startswith("_") and name != name.upper():
                found[name].append(str(path.relative_to(REPOSITORY)))
    return found


def test_one_word_means_one_thing() -> None:
    """No two files define a public type of one name, but for the two halves of a kind."""
    twice = {
        name: places
        for name, places in homes().items()
        if len(places) > 1 and name not in HALVES | MESSAGES
    }

    assert twice == {}


def test_the_two_halves_lie_apart() -> None:
    """What may be named twice is a client's half and the coordinator's, and nothing third."""
    places = homes()

    assert {name: sorted(place.split("/")[0] for place in places[name]) for name in HALVES} == {
        half: ["client", "strategies"] for half in HALVES
    }
