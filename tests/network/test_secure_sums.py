"""Secure sums over mutual TLS: daemons and a coordinator as processes, and the simulation beside them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.network.fleet import NUMPY_TRAINER, ProcessFleet
from tests.network.nemesis import CLIENTS, run_config, write_data
from tests.network.numpy_engine import simulate_in_numpy
from tests.network.planted import PLANTED

from antiphon.core.config import RunConfig, validate
from antiphon.core.events import AnswerReceived, RoundFolded
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes

EXAMPLES = {"ada": 10, "bea": 11, "cleo": 12}
SECURE = {"method": "ffa", "privacy": {"secure_aggregation": {"reach": 8.0}}}


def simulated(folder: Path) -> RunFolder:
    values = run_config("lora", 2) | SECURE
    chosen: RunConfig = validate(
        values | {"output": {"runs_dir": str(folder / "runs"), "plots": False}}
    )
    told = json.loads(write_data(folder, "lora")["ada"].read_text())
    return simulate_in_numpy(chosen, SpaceShapes(told["factors"], {}, "tiny", 1), EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("dies", [None, "before acknowledgement:2", "events stepped:5"])
def test_daemons_sum_under_masks(tmp_path: Path, dies: str | None) -> None:
    """The same adapter comes out as in a simulation, though the coordinator dies among the answers."""
    here = simulated(tmp_path)
    fleet = ProcessFleet(tmp_path / "there", run_config("lora", 2) | SECURE)
    try:
        fleet.serve(command=[*PLANTED, *(["--die", dies] if dies else []), "--"])
        fleet.wait_until_served()
        fleet.enrol(*CLIENTS)
        for client in CLIENTS:
            fleet.client(client, tmp_path / f"{client}.json", trainer=NUMPY_TRAINER)
        if dies:
            assert fleet.wait("coordinator", 120) == -signal.SIGKILL
            fleet.serve(resume=True)
        assert fleet.wait("coordinator", 150) == 0, fleet.log("coordinator")[-3000:]
        there = fleet.run_folder
    finally:
        fleet.close()

    adapters = [each.adapter(2) / "adapter_model.safetensors" for each in (here, there)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    with Journal.reading(there.journal_file) as journal:
        events = [entry.event for entry in journal.read(kinds=[AnswerReceived, RoundFolded])]
    assert sum(isinstance(each, RoundFolded) for each in events) == 2
