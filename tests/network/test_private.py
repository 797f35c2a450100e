"""Whatever the umask, nobody but its owner can read what a run leaves on either side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.network.fleet import NUMPY_TRAINER, ProcessFleet
from tests.network.nemesis import CLIENTS, run_config, write_data


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[ProcessFleet]:
    """A coordinator and its clients, started with a umask of nothing and at work on two rounds."""
    before = os.umask(0)
    fleet = ProcessFleet(tmp_path, {**run_config("lora", 2), "output": {"keep_updates": True}})
    try:
        fleet.serve(settings={"log_format": "json"})
        fleet.wait_until_served()
        fleet.enrol(*CLIENTS)
        for client, file in write_data(tmp_path, "lora").items():
            fleet.client(client, file, trainer=NUMPY_TRAINER)
        yield fleet
    finally:
        os.umask(before)
        fleet.close()


@pytest.mark.slow
def test_nothing_that_a_run_leaves_can_be_read_by_others(fleet: ProcessFleet) -> None:
    """Run folder (updates, states, journal, report) and the homes of both sides: no bit for others."""
    assert fleet.wait("coordinator", 60) == 0, fleet.log("coordinator")[-3000:]

    homes = [fleet.run_folder.path, fleet.home, *map(fleet.home_of, CLIENTS)]
    found = [each for home in homes for each in [home, *home.rglob("*")]]
    left_by_the_test = {"client.yaml", "settings.yaml"}
    open_to_others = [
        str(each)
        for each in found
        if each.stat().st_mode & 0o077 and each.name not in left_by_the_test
    ]
    assert any(each.suffix == ".bin" for each in found)
    assert open_to_others == []
