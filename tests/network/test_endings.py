"""What `antiphon serve` says last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.network.fleet import NUMPY_TRAINER, ProcessFleet
from tests.network.nemesis import CLIENTS, run_config, write_data


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ProcessFleet]:
    """A coordinator of one round, and its clients, which hand in anything."""
    fleet = ProcessFleet(tmp_path, run_config("lora", 1))
    try:
        fleet.serve(settings={"log_format": "json"})
        fleet.wait_until_served()
        fleet.enrol(*CLIENTS)
        for client, file in write_data(tmp_path, "lora").items():
            fleet.client(client, file, trainer=NUMPY_TRAINER)
        yield fleet
    finally:
        fleet.close()


@pytest.mark.slow
def test_the_end_of_a_real_run_is_told(fleet: ProcessFleet) -> None:
    """As after a simulation: the report and the adapter, by their paths."""
    assert fleet.wait("coordinator", 60) == 0, fleet.log("coordinator")[-3000:]

    said = fleet.log("coordinator").splitlines()
    run = fleet.run_folder
    assert said[-2:] == [f"report:  {run.report_md}", f"adapter: {run.adapter(1)}"]
