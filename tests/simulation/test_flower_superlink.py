"""A run on a SuperLink: the app that `antiphon flower new` writes, run as a user runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from tests.simulation.superlink import SuperLinkFleet

from antiphon.cli.flower import new_app
from antiphon.core.config import validate
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split


@pytest.mark.slow
@pytest.mark.network
def test_a_superlink_ends_with_the_simulations_adapter(
    tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    """Two SuperNodes give the bits that one process gives."""
    values = tiny_values | {"engine": {"threads": 1}, "rounds": 1}
    values["data"] = values["data"] | {"partition": "iid", "clients": 2}
    values["evaluation"] = {"before_first_round": False}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    new_app(tmp_path / "app", tmp_path / "run.yaml", Console(quiet=True))
    config = validate(values)
    here = simulate(config, load_split(config))

    fleet = SuperLinkFleet(tmp_path / "flower")
    try:
        fleet.start(nodes=2)
        log = fleet.run(tmp_path / "app", 'overrides="name=there"', timeout_s=300)
    finally:
        fleet.close()

    there = RunFolder(Path(config.output.runs_dir) / "there")
    assert there.report_json.exists(), log
    assert adapter(there) == adapter(here)


def adapter(folder: RunFolder) -> bytes:
    return (folder.adapter(1) / "adapter_model.safetensors").read_bytes()
