"""A member is known to its own files alone: whoever adds one changes no other file.

What the rest of the code must know of a member, the member says itself, in a field of its kind.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.test_house_rules import REPOSITORY, sources

from antiphon.core import registry

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
)
PRESETS = "antiphon/strategies/methods/"
DEFAULTS = "antiphon/core/defaults.py"
OTHER_MEANINGS = {
    ("antiphon/cli/fleet.py", "median"): "a column of a table",
    ("antiphon/client/assets/tiny.py", "float32"): "a key of a model's config.json",
    ("antiphon/core/wire.py", "scalars"): "a field of the protocol",
    ("antiphon/dashboard/fleet_tables.py", "all"): "an argument of pandas",
    ("antiphon/server/folding/model_card.py", "lora"): "a tag of model cards",
    ("antiphon/server/folding/possible_space.py", "factors"): "a key of space.json",
    ("antiphon/server/folding/space_file.py", "factors"): "a key of space.json",
    ("antiphon/simulation/liar.py", "random"): "a kind of lie",
    ("antiphon/strategies/compression/blockwise.py", "bf16"): "a number format",
    ("antiphon/strategies/compression/blockwise.py", "float32"): "a number format",
    ("antiphon/strategies/compression/quantiser.py", "clip"): "an argument of numpy",
    ("antiphon/strategies/compression/rans.py", "clip"): "an argument of numpy",
    ("antiphon/strategies/compression/topk.py", "bf16"): "a number format",
    ("antiphon/strategies/compression/topk.py", "float32"): "a number format",
    ("antiphon/strategies/server_opt/transform.py", "momentum"): "a key of the state",
    ("antiphon/strategies/spaces/additive.py", "lora"): "a section of the config",
    ("antiphon/strategies/spaces/span.py", "lora"): "a section of the config",
    ("antiphon/strategies/spaces/span.py", "seeds"): "a section of the config",
    ("antiphon/strategies/trainers/spsa.py", "seeds"): "a section of the config",
}
"""Words that are a member's name elsewhere, and in these files are not."""


def own_files() -> dict[str, set[str]]:
    """Return the files that a name of ours is registered with, both halves of it, by name."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    groups = [*KINDS, *(registry.HALVES[kind] for kind in KINDS if kind in registry.HALVES)]
    found: dict[str, set[str]] = {}
    for group in groups:
        for name, target in project["entry-points"][f"antiphon.{group}"].items():
            module = target.partition(":")[0].replace(".", "/")
            found.setdefault(name, set()).add(f"{module}.py")
    return found


def module_path(path: Path) -> str:
    """Return a file as its module is imported: antiphon/core/types.py."""
    return str(path.relative_to(REPOSITORY).relative_to(path.relative_to(REPOSITORY).parts[0]))


def named() -> Iterator[tuple[str, str]]:
    """Yield each file with each member's name that stands in it as a text of its own, and is not its."""
    own = own_files()
    for path in sources():
        file = module_path(path)
        if file.startswith(PRESETS) or file == DEFAULTS:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value
                if name in own and file not in own[name]:
                    yield file, name


def test_no_member_is_named_outside_its_files() -> None:
    """Presets put members together, and core/defaults.py says what a config means that says nothing."""
    assert set(named()) - set(OTHER_MEANINGS) == set()


def test_no_exception_outlives_its_word() -> None:
    """A file that no longer has the word is no exception any more."""
    assert set(OTHER_MEANINGS) - set(named()) == set()


def test_every_kind_of_strategy_is_held_to_it() -> None:
    """But for those of data: a simulation's defaults are theirs."""
    assert set(registry.KINDS) - set(KINDS) == {"format", "partition"}
