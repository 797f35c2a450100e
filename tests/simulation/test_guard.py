"""The stability guard in a space of tensors: a rate that is too high costs rounds, not the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.server.report.report import read
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

pytestmark = pytest.mark.slow


def test_a_rate_that_is_too_high_is_halved(tiny_config: Any, tmp_path: Path) -> None:
    """Without a first evaluation: what makes losses rise beyond the bound is undone, and said."""
    config = tiny_config(
        "method={space: core, trainer: spsa, form: scalars}",
        "seeds.learning_rate=0.5",
        "seeds.directions.kind=gaussian",
        "seeds.guard_loss_factor=1.02",
        "rounds=6",
        "evaluation.before_first_round=false",
        "output.plots=false",
        f"output.runs_dir={tmp_path}",
    )

    rounds = read(simulate(config, load_split(config)))["rounds"]

    undone = [each["round"] for each in rounds if each["outcome"] == "undone"]
    assert undone
    rates = [max(each["learning_rate"] for each in row["plan"].values()) for row in rounds]
    assert rates[undone[0]] == rates[0] / 2
