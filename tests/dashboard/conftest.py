"""What the dashboard's tests share: recorded journals, and pages on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import TINY
from tests.dashboard.large_journal import Fleet, write

from antiphon.core import config as configs
from antiphon.core.events import Event
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

APP = Path(__file__).parents[2] / "dashboard" / "antiphon" / "dashboard" / "app.py"

OpenPage = Callable[..., Any]


@pytest.fixture(scope="session")
def recorded_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one that is complete, one that was cut off an hour ago; nobody may change them."""
    runs = tmp_path_factory.mktemp("recorded")
    write(runs / "complete" / "journal.sqlite", Fleet(4, 3))
    write(runs / "interrupted" / "journal.sqlite", Fleet(4, 3), ended=False)
    for file in runs.rglob("journal.sqlite"):
        file.with_name("journal.sqlite.lock").write_text("")  # of a process that is no more
        os.utime(file, (file.stat().st_mtime - 3600,) * 2)
    return runs


@pytest.fixture(scope="session")
def simulated_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of the tiny example in simulation, cut to two rounds of a few steps."""
    values = yaml.safe_load(TINY.read_text()) | {"rounds": 2}
    values["training"]["max_steps"] = 2
    values["data"] |= {"eval_examples": 20, "max_train_examples": 40}
    values["output"] = {"runs_dir": str(tmp_path_factory.mktemp("simulated"))}
    config = configs.validate(values)
    return simulate(config, load_split(config))


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OpenPage:
    """Open a page of the app on a folder of runs: open_page(runs, "run_page.py", run="complete")."""
    from streamlit.testing.v1 import AppTest

    def opened(runs: Path, page: str = "runs_page.py", run: str = "", home: Path = tmp_path) -> Any:
        arguments = ["app.py", "--runs", str(runs), "--home", str(home)]
        monkeypatch.setattr(sys, "argv", arguments)
        app = AppTest.from_file(str(APP), default_timeout=60).run()
        if run:
            app.query_params["run"] = run
        return app.switch_page(page).run() if page != "runs_page.py" else app

    return opened


def journal_of(folder: Path, events: Iterable[Event], at_s: float = 0.0) -> RunFolder:
    """Append events to the journal of a run's folder; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with Journal.writing(folder / "journal.sqlite") as journal:
        journal.append_many(events, at_s)
    return RunFolder(folder)


def texts(elements: Sequence[Any]) -> str:
    """Return what some elements of a page say, a line each."""
    return "\n".join(str(each.value) for each in elements)
