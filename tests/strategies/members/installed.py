"""The installed members of every kind, each with the arguments that the laws are tried with.

A member is tried with its defaults, and with whatever ARGUMENTS lists for it. A new member needs a line
there only if it has arguments without a default (or if its defaults contradict each other).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from pathlib import Path
from typing import Any

import pytest
import yaml

from antiphon.core import registry
from antiphon.core.config import validate
from antiphon.core.errors import ConfigError

_VALUES = yaml.safe_load((Path(__file__).parents[3] / "examples" / "tiny.yaml").read_text())
CONFIG = validate(
    _VALUES | {"seeds": {**_VALUES["seeds"], "space": "adapter"}, "mixed": {"seeds": ["meadow"]}}
)
"""What members of kinds that read a run's config are tried with: every method can run it."""

HERE = "tests/strategies/members/installed.py"
ARGUMENTS: Mapping[tuple[str, str], tuple[Mapping[str, Any], ...]] = {
    ("method", "written"): (
        {"space": "core", "trainer": "adamw", "form": "delta"},
        {
            "space": "lora_b",
            "roles": [
                {"trainer": "spsa", "form": "scalars", "clients": ["mill"], "below_gb": 4},
                {"trainer": "adamw", "form": "delta"},
            ],
        },
    ),
    ("aggregation", "factors"): ({}, {"report_error": False}),
    ("aggregation", "fltrust"): ({"trusted": "client-0"},),
    ("server_opt", "sgd"): ({}, {"lr": 0.7}),
    ("frames", "gradient"): ({}, {"skip": 1, "weigh": True}),
    ("codec", "int8"): ({}, {"block": 7, "scales": "float32"}),
    ("codec", "topk"): ({}, {"fraction": 0.5, "values": "float32"}),
    ("codec", "ecdq"): ({}, {"bits": 0.1}, {"bits": 8.0}),
    ("scheduler", "without"): ({"clients": ["c1"]},),  # of docs/extending.md
    ("policy", "staged"): (
        {
            "stages": [
                {"from_round": 2, "codec": "ecdq", "bits": 1.5, "steps": 3},
                {"below_loss": 1.0, "codec": "bf16", "size": 2},
            ]
        },
    ),
    ("policy", "adaptive"): (
        {"bytes": 10**7},
        {"seconds": 20_000.0},
        {"bytes": 10**7, "seconds": 20_000.0, "min_bits": 0.5},
    ),
    ("policy", "swift"): ({}, {"until_loss": 0.1, "reach": 1.0}),
    ("format", "classification"): (
        {
            "text": "text",
            "label": "label",
            "template": "{text} It was",
            "verbalizers": {"good": " great", "bad": " poor"},
        },
    ),
    ("partition", "field"): ({"field": "site"},),
    ("partition", "dirichlet"): ({}, {"alpha": 5.0, "label": "site"}),
}


@dataclass(frozen=True)
class Case:
    """One member with arguments. missing: arguments that it needs and nobody has listed."""

    kind: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return how it is called in a test's name."""
        given = [f"{name}={value}" for name, value in self.arguments.items()]
        short = [each if len(each) < 30 else each.partition("=")[0] for each in given]
        return " ".join([self.name, *short])

    def build(self) -> Any:
        """Return the member as a config builds it; fail, and say what to add, where that cannot be."""
        advice = f"add a line ({self.kind!r}, {self.name!r}) to ARGUMENTS in {HERE}"
        if self.missing:
            pytest.fail(
                f"{self.kind} {self.name} cannot be tried without {', '.join(self.missing)}: {advice}"
            )
        try:
            return registry.build(self.kind, self.name, self.arguments, {"config": CONFIG})
        except ConfigError as error:
            pytest.fail(
                f"{self.kind} {self.name} with {self.arguments}: {error}. Change it: {advice}"
            )


def cases(kind: str) -> list[Case]:
    """Return every installed member of a kind with each of its sets of arguments."""
    return [
        case
        for name in registry.members(kind)
        for case in cases_of(kind, name, registry.signature(kind, name))
    ]


def cases_of(kind: str, name: str, takes: Mapping[str, Parameter]) -> list[Case]:
    """Return one member with each of its sets of arguments; with none listed, its defaults."""
    required = [each for each, how in takes.items() if how.default is Parameter.empty]
    listed = ARGUMENTS.get((kind, name), ({},))
    return [
        Case(kind, name, given, tuple(each for each in required if each not in given))
        for given in listed
    ]
