"""Write the tables of keys in the documents from the descriptions in the code.

python docs/generate.py        from the repository's root; `make docs` does it

A table stands between two comments of a page:

    <!-- keys of run: lora training -->
    <!-- end of keys -->

The first names a config (run, coordinator, client, fleet) and its keys, in order; `...` stands for all
that no table of that config names, and a section for all of its keys. What a key means is its
`description` in the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from antiphon.client.daemon import settings as client_settings
from antiphon.core import coordinator_settings
from antiphon.core.config import RunConfig
from antiphon.core.section import Choice, Section
from antiphon.simulation.fleet_file import ClientGroup

DOCS = Path(__file__).parent
END = "<!-- end of keys -->"
MARK = re.compile(
    rf"^<!-- keys of (\w+): ([^\n]*) -->\n(.*?)^{re.escape(END)}$", re.MULTILINE | re.DOTALL
)
REST = "..."

MODELS: Mapping[str, type[Section]] = {
    "run": RunConfig,
    "coordinator": coordinator_settings.CoordinatorSettings,
    "client": client_settings.ClientSettings,
    "fleet": ClientGroup,
}

RELOADED: Mapping[str, frozenset[str]] = {
    "coordinator": coordinator_settings.RELOADABLE,
    "client": client_settings.RELOADABLE,
}
"""Of configs that running programs read again: the keys that they take over."""

SEE: Mapping[tuple[str, str], str] = {
    ("run", "aggregation"): "methods.md#aggregations",
    ("run", "cohort.asynchronous"): "asynchronous.md",
    ("run", "cohort.quorum"): "scheduling.md#the-bench-and-the-pause",
    ("run", "cohort.scheduler"): "scheduling.md",
    ("run", "cohort.work"): "scheduling.md",
    ("run", "compression.uplink"): "codecs.md",
    ("run", "data.filter"): "data.md#filters",
    ("run", "data.format"): "data.md#formats",
    ("run", "data.partition"): "data.md#partitions",
    ("run", "engine.fleet"): "fleets.md",
    ("run", "engine.kind"): "flower.md",
    ("run", "method"): "methods.md#methods",
    ("run", "model.base"): "methods.md#bases",
    ("run", "policy"): "scheduling.md",
    ("run", "protection"): "methods.md#protections",
    ("run", "seeds.guard_loss_factor"): "methods.md#stability-guard",
    ("run", "server_opt"): "methods.md#server-optimizers",
    ("run", "stages"): "methods.md#stages",
    ("client", "base"): "methods.md#bases",
    ("client", "data.format"): "data.md#formats",
    ("fleet", "base"): "methods.md#bases",
    ("fleet", "liar"): "fleets.md#hostile-clients",
}
"""Where the documents say more of a key."""


@dataclass(frozen=True)
class Row:
    """One key of a config. name: with the sections around it; reload: none, where nothing is reloaded."""

    config: str
    name: str
    field: FieldInfo
    reload: bool | None

    def cells(self, page: str) -> list[str]:
        """Return what stands in its row of a table on a page."""
        words = [f"`{self.name}`", _default(self.field), self._meaning(page)]
        return words if self.reload is None else [*words, "yes" if self.reload else "no"]

    def _meaning(self, page: str) -> str:
        said = (self.field.description or "").replace("|", "\\|")
        options = [each for each in _options(self.field.annotation) if not _names(said, each)]
        if options:
            said += f" One of {', '.join(f'`{each}`' for each in _options(self.field.annotation))}."
        if link := SEE.get((self.config, self.name)):
            file, _, anchor = link.partition("#")
            shown = anchor.replace("-", " ") or file
            said += f" See [{shown}]({f'#{anchor}' if file == page else link})."
        return said


def rows(config: str) -> Iterator[Row]:
    """Yield every key of a config in the order of the code, those of sections with their sections."""
    yield from _rows(config, MODELS[config], "", RELOADED.get(config))


def table(config: str, wanted: str, page: str, named: frozenset[str]) -> str:
    """Return one table. wanted: the keys, as the comment lists them; named: by any table of the config."""
    everything = list(rows(config))
    chosen: list[Row] = []
    for key in wanted.split():
        found = [each for each in everything if _is_under(each.name, key)]
        if key == REST:
            found = [e for e in everything if not any(_is_under(e.name, other) for other in named)]
        # What another table names by itself is left to it.
        closer = [each for each in named if each != key and _is_under(each, key)]
        found = [e for e in found if not any(_is_under(e.name, other) for other in closer)]
        if not found:
            raise ValueError(f"{page}: {config} has no key {key!r}: name others in the comment")
        chosen += found
    head = ["Key", "Default", "Meaning", *(["Reload"] if config in RELOADED else [])]
    lines = [head, ["---"] * len(head), *(each.cells(page) for each in chosen)]
    return "".join(_line(cells) for cells in lines)


def generated(page: Path, pages: list[Path]) -> str:
    """Return the text of a page with its tables as the code has them. pages: all, for what `...` is."""
    text = page.read_text(encoding="utf-8")

    def written(found: re.Match[str]) -> str:
        config, wanted = found[1], found[2]
        named = {
            key
            for each in pages
            for mark in MARK.finditer(each.read_text(encoding="utf-8"))
            if mark[1] == config
            for key in mark[2].split()
        }
        body = table(config, wanted, page.name, frozenset(named))
        return f"<!-- keys of {config}: {wanted} -->\n{body}{END}"

    return MARK.sub(written, text)


def main() -> None:
    """Write every page whose tables have changed, and say which."""
    pages = sorted(DOCS.glob("*.md"))
    for page in pages:
        text = generated(page, pages)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(page.name)


def _rows(
    config: str, model: type[BaseModel], prefix: str, reloaded: frozenset[str] | None
) -> Iterator[Row]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        within = name if not prefix else prefix.split(".")[0]
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from _rows(config, inner, f"{prefix}{name}.", reloaded)
        else:
            reload = None if reloaded is None else within in reloaded
            yield Row(config, f"{prefix}{name}", field, reload)
            for optional in get_args(inner):
                if isinstance(optional, type) and issubclass(optional, Section):
                    yield from _rows(config, optional, f"{prefix}{name}.", reloaded)


def _is_under(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}.")


def _names(said: str, option: str) -> bool:
    return re.search(rf"\b{re.escape(option)}\b", said) is not None


def _options(annotation: Any) -> list[str]:
    """Return the words that a key can be, where it is one of a few."""
    if get_origin(annotation) is Literal:
        return [str(each) for each in get_args(annotation)]
    if get_origin(annotation) in (Union, UnionType):
        return [word for each in get_args(annotation) for word in _options(each)]
    return []


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default_said" in extra:
        return str(extra["default_said"])
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else f"`{_written(value)}`"


def _written(value: Any) -> str:
    """Return a default as YAML would have it."""
    if isinstance(value, Choice):
        return value.kind
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n".replace("| --- ", "|---").replace("|--- |", "|---|")


if __name__ == "__main__":
    main()
