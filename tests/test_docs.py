"""The documents say what the code does: every check here fails when only one of the two changes."""

import json
import os
import re
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import entry_points
from inspect import Parameter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from docs.generate import DOCS, MARK, MODELS, SEE, generated, rows

from antiphon.client.assets.catalogue import CATALOGUE
from antiphon.client.data.formats import Format
from antiphon.client.data.rows import Rows
from antiphon.core import events, registry
from antiphon.core.config import validate
from antiphon.core.section import Choice
from antiphon.core.tensors import from_bytes
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def our_members(kind: str) -> list[str]:
    """Names of the members that this distribution brings; others document theirs themselves."""
    points = entry_points(group=f"antiphon.{kind}")
    return sorted(each.name for each in points if each.dist and each.dist.name == "antiphon")


MEMBERS = [(kind, name) for kind in registry.KINDS for name in our_members(kind)]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FACTORS = {
    "m.lora_A.weight": np.eye(2, 3, dtype=np.float32),
    "m.lora_B.weight": np.ones((4, 2), dtype=np.float32),
}


def text_of(*names: str) -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


def blocks(page: str, language: str) -> list[str]:
    return [body for marked, body in FENCED.findall(page) if marked == language]


def section(page: str, heading: str) -> str:
    _, _, after = page.partition(f"\n{heading}\n")
    return re.split(r"^#+ ", after, maxsplit=1, flags=re.MULTILINE)[0]


def slugs(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def signature(kind: str, name: str) -> str:
    parameters = registry.signature(kind, name).values()
    bare = (
        each.replace(annotation=Parameter.empty, kind=Parameter.POSITIONAL_OR_KEYWORD)
        for each in parameters
    )
    # Documents quote with double quotes, repr with single ones.
    return f"{name}({', '.join(map(str, bare))})".replace("'", '"')


def commands_known() -> set[str]:
    with warnings.catch_warnings():
        # typer imports names that click is about to drop; its users cannot mend that.
        warnings.simplefilter("ignore", DeprecationWarning)
        from antiphon.cli.main import app
    single = {
        each.name or getattr(each.callback, "__name__", "") for each in app.registered_commands
    }
    return single | {str(group.name) for group in app.registered_groups}


def commands_in(page: str) -> set[str]:
    spans = [body for _, body in FENCED.findall(page)]
    spans += re.findall(r"`([^`\n]+)`", FENCED.sub("", page))
    return {found for span in spans for found in re.findall(r"\bantiphon ([a-z]+)", span)}


@pytest.mark.parametrize(("kind", "name"), MEMBERS, ids=lambda each: str(each))
def test_every_member_has_a_heading_with_its_exact_arguments(kind: str, name: str) -> None:
    """A member of ours stands on one of the pages of members as `name(argument=default)`."""
    page = text_of("docs/methods.md", "docs/data.md", "docs/codecs.md", "docs/scheduling.md")

    heading = f"\n### `{signature(kind, name)}`\n"

    assert heading in page


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_tables_of_keys_are_those_of_the_code(page: Path) -> None:
    """Each table of keys says what the descriptions in the code say: `make docs` writes them."""
    pages = sorted(DOCS.glob("*.md"))

    assert generated(page, pages) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("config", MODELS)
def test_every_key_has_one_row(config: str) -> None:
    """No key of a config is left out of the tables, and none stands in two of them."""
    tables = [
        found for page in DOCS.glob("*.md") for found in MARK.findall(page.read_text("utf-8"))
    ]

    listed = [
        key
        for named, _, body in tables
        if named == config
        for key in re.findall(r"^\| `([\w.]+)` \|", body, re.MULTILINE)
    ]

    assert sorted(listed) == sorted(each.name for each in rows(config))


def test_every_key_says_what_it_means() -> None:
    """A key without a description would have an empty cell."""
    silent = [e.name for config in MODELS for e in rows(config) if not e.field.description]

    assert silent == []


def test_links_beside_keys_are_of_keys_that_there_are() -> None:
    """A key that is gone leaves no link behind."""
    assert set(SEE) <= {(config, each.name) for config in MODELS for each in rows(config)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    """A link that is no address of the web names a file of the repository."""
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", FENCED.sub("", page.read_text("utf-8")))

    missing = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]

    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_anchor_is_a_heading(page: Path) -> None:
    """The part of a link after # is the slug of a heading of the page that it leads to."""
    links = re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", FENCED.sub("", page.read_text("utf-8")))
    local = [(link, anchor) for link, anchor in links if "://" not in link]

    missing = [
        anchor
        for link, anchor in local
        if anchor not in slugs(page.parent / link if link else page)
    ]

    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_mentioned_exists(page: Path) -> None:
    """`antiphon <command>` in code is a command of the command line."""
    mentioned = commands_in(page.read_text(encoding="utf-8"))

    assert mentioned <= commands_known()


def test_readme_lists_every_command() -> None:
    """The README's table of commands is complete."""
    mentioned = commands_in(text_of("README.md"))

    assert mentioned == commands_known()


def test_readme_lists_every_example() -> None:
    """Each YAML in examples/ is linked from the README."""
    page = text_of("README.md")

    missing = [
        path.name
        for path in (ROOT / "examples").glob("*.yaml")
        if f"(examples/{path.name})" not in page
    ]

    assert not missing


def test_readme_yaml_is_a_valid_run() -> None:
    """The YAML for one's own data passes validation as it is."""
    (written,) = blocks(text_of("README.md"), "yaml")

    config = validate({**yaml.safe_load(written)}, source="README.md")

    assert config.data.partition.arguments == {"field": "site"}


def test_architecture_names_every_event() -> None:
    """The page on the journal lists each kind of event there is."""
    page = text_of("docs/architecture.md")

    missing = [each.__name__ for each in get_args(events.Event) if each.__name__ not in page]

    assert not missing


def test_data_page_has_every_asset_with_its_licence() -> None:
    """Each name that can be fetched has a row with licence and size."""
    page = text_of("docs/data.md")

    for asset in CATALOGUE.values():
        (row,) = re.findall(rf"^\| `{re.escape(asset.name)}` \|.*$", page, re.MULTILINE)
        assert f"| {asset.licence} |" in row


@pytest.mark.parametrize("name", our_members("format"))
def test_every_example_row_is_read_by_its_format(name: str) -> None:
    """The row shown for a format is one that the format accepts."""
    heading = f"### `{signature('format', name)}`"
    shown = section(text_of("docs/data.md"), heading)
    choice = Choice.model_validate(yaml.safe_load(blocks(shown, "yaml")[0])["format"])
    form: Format = registry.build("format", choice.kind, choice.arguments)

    example = form.parse(json.loads(blocks(shown, "json")[0]))

    assert choice.kind == name
    assert example.completion or example.messages


@pytest.fixture
def extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Install the distribution of extending.md as it is printed there; return its pyproject."""
    page = text_of("docs/extending.md")
    for code in blocks(page, "python"):
        if code.startswith("# antiphon_extras/"):
            path = tmp_path / code.partition("\n")[0].removeprefix("# ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(code, encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(blocks(page, "toml")[0])["project"]
    info = tmp_path / "antiphon_extras-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: antiphon-extras\nVersion: 0.1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in members.items())
        for group, members in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))
    return project


def test_extending_shows_one_member_of_each_kind(extras: dict[str, Any]) -> None:
    """The page's distribution covers every kind that a config can name."""
    shown = {group.removeprefix("antiphon.") for group in extras["entry-points"]}

    assert shown == {*registry.KINDS, *registry.HALVES.values()}


@pytest.mark.slow
def test_extending_members_keep_the_laws_of_their_kinds(
    extras: dict[str, Any], tmp_path: Path
) -> None:
    """The laws find the page's distribution where it is installed, and each of its members keeps them."""
    names = {name for members in extras["entry-points"].values() for name in members}
    only = " or ".join(f"[{name}" for name in sorted(names))
    laws = ["tests/strategies/members", "-k", only, "-v", "-p", "no:cacheprovider"]

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *laws],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout
    assert set(re.findall(r"\[(\w+).* PASSED", ran.stdout)) >= names


def test_extending_yaml_builds_through_the_registry(extras: dict[str, Any]) -> None:
    """The YAML lines of the page are accepted once the distribution is there."""
    lines = yaml.safe_load(blocks(text_of("docs/extending.md"), "yaml")[0])
    base = yaml.safe_load(blocks(text_of("README.md"), "yaml")[0])

    config = validate({**base, **lines})

    assert config.aggregation.kind == "clipped"


@pytest.mark.slow
def test_extending_method_learns(extras: dict[str, Any], tmp_path: Path) -> None:
    """A run of the page's `signed` lowers the loss, and its clients send no change of A."""
    values = yaml.safe_load((ROOT / "examples" / "tiny.yaml").read_text())
    values |= {"rounds": 2, "method": "signed", "training": {"max_steps": 10}}
    values |= {"output": {"runs_dir": str(tmp_path / "runs"), "keep_updates": True}}
    config = validate(values)

    folder = simulate(config, load_split(config))

    report = json.loads(folder.report_json.read_text())
    assert report["final"]["loss"] < report["initial"]["loss"]
    sent = from_bytes((folder.path / "rounds/0001/updates/meadow.safetensors").read_bytes())
    assert {name for name, value in sent.items() if value.any()} == {
        n for n in sent if ".lora_B." in n
    }


def test_extending_aggregation_bounds_a_delta(extras: dict[str, Any]) -> None:
    """The page's `clipped` moves the product by less than `product` would."""
    aggregation = registry.build("aggregation", "clipped", {"max_norm": 0.1})
    delta = {name: np.ones_like(value) for name, value in FACTORS.items()}

    moved = aggregation.aggregate(FACTORS, 1.0, [Contribution("a", 1, FACTORS, delta, 1.0)]).params

    before = FACTORS["m.lora_B.weight"] @ FACTORS["m.lora_A.weight"]
    after = moved["m.lora_B.weight"] @ moved["m.lora_A.weight"]
    assert 0 < np.linalg.norm(after - before) < 0.5


def test_extending_server_optimizer_bounds_the_step(extras: dict[str, Any]) -> None:
    """The page's `bounded` takes a step of max_norm where the delta is longer."""
    optimizer = registry.build("server_opt", "bounded", {"max_norm": 0.5})
    start = {"w": np.zeros(4, dtype=np.float32)}

    _, after = optimizer.apply(optimizer.init(start), start, {"w": np.ones(4, dtype=np.float32)})

    assert np.linalg.norm(after["w"]) == pytest.approx(0.5)


def test_extending_codec_sends_one_bit(extras: dict[str, Any]) -> None:
    """The page's `signs` gives back the signs in an eighth of a byte for each number."""
    codec = registry.build("codec", "signs", {})
    tensors = {"w": np.random.default_rng(0).normal(size=(40, 100)).astype(np.float32)}

    content = codec.encode(tensors, np.random.default_rng(0))

    assert 8 * len(content) <= codec.bits(4000) * 4000 < 1.1 * 4000
    assert (np.sign(codec.decode(content, {"w": (40, 100)})["w"]) == np.sign(tensors["w"])).all()


@pytest.mark.slow
def test_extending_policy_runs(extras: dict[str, Any], tmp_path: Path) -> None:
    """A run with the page's `tapering` asks for fewer steps in its second round, and says so."""
    values = yaml.safe_load((ROOT / "examples" / "tiny.yaml").read_text())
    values |= {"rounds": 2, "policy": {"kind": "tapering", "factor": 0.5}}
    values |= {"output": {"runs_dir": str(tmp_path / "runs")}, "compression": {"uplink": "signs"}}
    config = validate(values)

    report = json.loads(simulate(config, load_split(config)).report_json.read_text())

    first, second = report["rounds"]
    assert first["plan"]["meadow"]["steps"] == 2 * second["plan"]["meadow"]["steps"]
    assert "5 of 10 steps" in second["reason"]


def test_extending_scheduler_leaves_clients_out(extras: dict[str, Any]) -> None:
    """The page's `without` never chooses a client that it names."""
    scheduler = registry.build("scheduler", "without", {"clients": ["b"]})
    here = [ClientTelemetry(name) for name in "abc"]

    cohort = scheduler.choose(here, 3, RunTelemetry(), np.random.default_rng(0))

    assert cohort == ("a", "c")


def test_extending_format_and_partition_share_rows_out(extras: dict[str, Any]) -> None:
    """The page's `question` reads its rows, and `consecutive` gives each of them to one client."""
    form = registry.build("format", "question", {"instruction": "Be brief. "})
    partition = registry.build("partition", "consecutive", {})
    values = tuple({"question": f"{n}?", "answer": "yes"} for n in range(5))
    rows = Rows(values, tuple(form.parse(row) for row in values))

    shares = partition.split(rows, 2, np.random.default_rng(0))

    assert rows.examples[0].prompt == "Be brief. Q: 0?\nA:"
    assert shares == {"block-000": (0, 1, 2), "block-001": (3, 4)}
