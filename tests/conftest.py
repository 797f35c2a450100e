"""What many tests share: hypothesis without a stopwatch and without chance, and runs of the tiny model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from antiphon.core import config as configs
from antiphon.core.config import RunConfig

# torch's threads spin while they wait; beside another busy process that makes each step ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A loaded machine is slow now and then; that is no reason for a test to fail. Nor is an example that nobody
# has tried before: chance is for `make fuzz`, where who finds something is there to look at it.
settings.register_profile("antiphon", deadline=None, derandomize=True, database=None)
settings.register_profile("chance", deadline=None, print_blob=True)
settings.load_profile("antiphon")

ROOT = Path(__file__).parent.parent
TINY = ROOT / "examples" / "tiny.yaml"

ConfigMaker = Callable[..., RunConfig]


def small_values(folder: Path) -> dict[str, Any]:
    """Return the tiny example as plain values, cut to a second's work, with its runs in `folder`.

    Nothing is drawn: pictures take longer than the whole run.
    """
    values: dict[str, Any] = yaml.safe_load(TINY.read_text())
    values["rounds"] = 2
    values["training"]["max_steps"] = 2
    values["seeds"]["max_steps"] = 3
    values["data"] |= {"eval_examples": 20, "max_train_examples": 40}
    values["output"] = {"runs_dir": str(folder / "runs"), "plots": False}
    return values


@pytest.fixture
def tiny_values(tmp_path: Path) -> dict[str, Any]:
    """The tiny example as plain values, in a folder of the test's own."""
    return small_values(tmp_path)


@pytest.fixture
def tiny_config(tiny_values: dict[str, Any]) -> ConfigMaker:
    """Make a small run's config with overrides: tiny_config("rounds=3", "method=seeds")."""

    def make(*overrides: str) -> RunConfig:
        values: Mapping[str, Any] = tiny_values
        for override in overrides:
            values = configs.override(values, override)
        return configs.validate(values)

    return make


LONGEST = ("model", "network", "slow")
NETWORK = ("server/coordinator", "client/daemon", "network")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what opens sockets and starts processes: a minute of tests that `make check` leaves out.

    Files that train the real model come first, then those that wait for processes: beside them there is
    other work to the end.
    """
    folders = [ROOT / "tests" / each for each in NETWORK]
    for item in items:
        if any(folder in item.path.parents for folder in folders):
            item.add_marker("network")
    longest = [{item.path for item in items if item.get_closest_marker(mark)} for mark in LONGEST]
    items.sort(key=lambda item: [item.path not in paths for paths in longest])
