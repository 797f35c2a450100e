"""What `antiphon flower new` writes, what a node reads of its settings, and what the records hold."""

from __future__ import annotations

import tomllib
from importlib import util
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from antiphon.cli.flower import FILES, new_app
from antiphon.core.config import validate
from antiphon.core.errors import ConfigError, RunFolderError, UpdateError
from antiphon.core.types import Plain
from antiphon.simulation.flower import run as flower_run
from antiphon.simulation.flower.letters import Parcel
from antiphon.simulation.place import Place, place_of

ROOT = Path(__file__).parents[2]
TINY = ROOT / "examples" / "tiny.yaml"
QUIET = Console(quiet=True)


def test_a_new_app_holds_the_tiny_run(tmp_path: Path) -> None:
    """Without a config it is the example that needs no download."""
    new_app(tmp_path / "app", None, QUIET)

    values = yaml.safe_load((tmp_path / "app" / "run.yaml").read_text())
    assert {each.name for each in (tmp_path / "app").iterdir()} == set(FILES)
    assert values == yaml.safe_load(TINY.read_text())


def test_a_new_app_names_its_components(tmp_path: Path) -> None:
    """Flower finds both apps under [tool.flwr.app]."""
    new_app(tmp_path / "app", None, QUIET)

    project = tomllib.loads((tmp_path / "app" / "pyproject.toml").read_text())
    components = project["tool"]["flwr"]["app"]["components"]
    for reference in components.values():
        module, _, attribute = reference.partition(":")
        assert f"{attribute} = " in (tmp_path / "app" / f"{module}.py").read_text()


def test_a_new_app_holds_the_users_run(tmp_path: Path) -> None:
    """--config is taken as it is, with its comments."""
    new_app(tmp_path / "app", TINY, QUIET)

    assert (tmp_path / "app" / "run.yaml").read_text() == TINY.read_text()


def test_a_wrong_config_writes_nothing(tmp_path: Path) -> None:
    """The mistake is found here and not on the SuperLink."""
    (tmp_path / "run.yaml").write_text("name: x\nrouns: 3\n")

    with pytest.raises(ConfigError, match="rouns"):
        new_app(tmp_path / "app", tmp_path / "run.yaml", QUIET)

    assert not (tmp_path / "app").exists()


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    """Nothing is overwritten."""
    with pytest.raises(RunFolderError, match="exists already"):
        new_app(tmp_path, None, QUIET)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"partition-id": 2, "num-partitions": 4}, Place(2)),
        ({"client": "clinic", "dataset": "rows.jsonl"}, Place(None, "clinic", "rows.jsonl")),
        ({"partition-id": 2, "client": "a", "dataset": "b"}, Place(None, "a", "b")),
    ],
)
def test_a_nodes_settings_say_whose_it_is(settings: dict[str, Plain], place: Place) -> None:
    """A part of the run's split, or a name with rows of its own."""
    assert place_of(settings) == place


@pytest.mark.parametrize(
    "settings", [{}, {"client": "clinic"}, {"dataset": "rows.jsonl"}, {"partition-id": "two"}]
)
def test_settings_that_say_nothing_are_refused(settings: dict[str, Plain]) -> None:
    """The error shows what is expected."""
    with pytest.raises(ConfigError, match="partition-id=0"):
        place_of(settings)


def test_a_missing_flower_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install stands in the error."""
    monkeypatch.setattr(util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"pip install 'antiphon\[flower\]'"):
        flower_run.check_installed()


def test_the_engine_is_a_config_key() -> None:
    """engine.kind takes flower."""
    values = yaml.safe_load(TINY.read_text()) | {"engine": {"kind": "flower"}}

    assert validate(values).engine.kind == "flower"


def test_records_give_the_parcel_back() -> None:
    """What is packed into Flower's records comes out of them."""
    from antiphon.simulation.flower.engine import _parcel, _records

    sent = Parcel(b"message", b"content", "client")

    assert _parcel(_records(sent, {})) == sent


def test_foreign_records_are_refused() -> None:
    """Records of another app are an UpdateError, whatever they hold."""
    from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

    from antiphon.simulation.flower.engine import _parcel

    foreign = [
        RecordDict(),
        RecordDict({"letter": MetricRecord({"loss": 1.0})}),
        RecordDict({"letter": ConfigRecord({"message": "text", "client": "a"})}),
        RecordDict(
            {"letter": ConfigRecord({"message": b"", "client": "a"}), "blob": ArrayRecord([])}
        ),
    ]
    for records in foreign:
        with pytest.raises(UpdateError):
            _parcel(records)
