"""The shape of the distribution: one import name out of many folders, and light imports."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from zipfile import ZipFile

import pytest

# typer imports a name that click has deprecated: not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
ROOTS: list[str] = WHEEL["sources"]
HEAVY = ("flwr", "matplotlib", "peft", "streamlit", "torch", "transformers")
LIGHT = ("antiphon.core.config", "antiphon.server.federation", "antiphon.server.report.report")


def entry_points() -> list[str]:
    """Return every `module:name` that pyproject.toml promises."""
    groups = [PROJECT["project"]["scripts"], *PROJECT["project"]["entry-points"].values()]
    return sorted({target for group in groups for target in group.values()})


def commands(command: object, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that lead to a command, and to every command below it."""
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Build the wheel and return the names of its files."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=REPOSITORY, check=True)
    (built,) = out.glob("*.whl")
    with ZipFile(built) as archive:
        return frozenset(archive.namelist())


def test_source_roots_are_the_same_everywhere() -> None:
    """Every tool is told of the same source roots: an editable install, the wheel, pytest, mypy."""
    tools = PROJECT["tool"]
    told = [
        *(tools["hatch"]["build"]["dev-mode-dirs"], WHEEL["only-include"]),
        *(tools["pytest"]["ini_options"]["pythonpath"], tools["mypy"]["mypy_path"]),
        tools["ruff"]["src"],
    ]

    # pytest also sees the benchmarks, which lie in the repository itself.
    assert [sorted(set(each) - {"."}) for each in told] == [sorted(ROOTS)] * len(told)


@pytest.mark.parametrize("root", ROOTS)
def test_namespace_has_no_init(root: str) -> None:
    """A source root holds no antiphon/__init__.py: it would hide the other roots."""
    assert not (REPOSITORY / root / "antiphon" / "__init__.py").exists()


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module: str) -> None:
    """The coordinator's modules load no training, plotting or dashboard library."""
    code = f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"

    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert sorted(set(HEAVY) & set(ran.stdout.split())) == []


@pytest.mark.parametrize("target", entry_points())
def test_entry_point_loads(target: str) -> None:
    """What an entry point names exists and can be called."""
    assert callable(resolve_name(target))


def test_wheel_has_one_top_level_package(wheel: frozenset[str]) -> None:
    """The wheel puts `antiphon` into site-packages, and nothing else."""
    tops = {name.split("/")[0] for name in wheel}

    assert {each for each in tops if not each.endswith(".dist-info")} == {"antiphon"}


def test_wheel_is_whole(wheel: frozenset[str]) -> None:
    """The wheel holds every module of the source roots but the generator of the stubs."""
    roots = [REPOSITORY / root for root in ROOTS]
    sources = {p.relative_to(root).as_posix() for root in roots for p in root.rglob("*.py")}

    assert {name for name in wheel if name.endswith(".py")} == sources - {"generate.py"}


def test_script_is_installed() -> None:
    """The `antiphon` command starts and says what it is for."""
    script = Path(sys.executable).with_name("antiphon")

    ran = subprocess.run([script, "--help"], check=True, capture_output=True, text=True)

    assert "Federated fine-tuning" in ran.stdout


def test_every_command_answers_help() -> None:
    """Every command and group of the command line explains itself."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from antiphon.cli.main import app

    found = list(commands(get_command(app)))
    helps = {words: CliRunner().invoke(app, [*words, "--help"]) for words in found}

    assert ("simulate",) in helps
    assert {words for words, each in helps.items() if "Usage" not in each.output} == set()
    assert {words for words, each in helps.items() if each.exit_code != 0} == set()
