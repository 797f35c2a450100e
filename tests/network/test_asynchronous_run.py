"""Asynchronous rounds over mutual TLS: daemons of different speeds, one of which is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.network.fleet import NUMPY_TRAINER, ProcessFleet
from tests.network.history import answers, entries_of, violations
from tests.network.nemesis import CLIENTS, run_config, write_data

from antiphon.core.events import RoundFolded, UpdateReceived
from antiphon.server.machine.round import replay

ROUNDS = 8


def asynchronous_config(method: str) -> dict[str, Any]:
    """Return a run that folds two updates of three clients at a time, and evaluates every fold."""
    values = run_config(method, ROUNDS)
    cohort = {**values["cohort"], "quorum": 1, "asynchronous": {"buffer": 2, "max_staleness": 3}}
    return values | {"cohort": cohort, "evaluation": {"before_first_round": False}}


@pytest.fixture(params=["lora", "seeds"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProcessFleet]:
    """Three enrolled daemons, the last of which is the slowest, and their coordinator."""
    fleet = ProcessFleet(tmp_path, asynchronous_config(request.param))
    try:
        files = write_data(tmp_path, request.param)
        for number, client in enumerate(CLIENTS):
            told = json.loads(files[client].read_text())
            files[client].write_text(json.dumps({**told, "step_s": 0.2 * number}))
        fleet.serve()
        fleet.wait_until_served()
        fleet.enrol(*CLIENTS)
        for client in CLIENTS:
            fleet.client(client, files[client], trainer=NUMPY_TRAINER)
        yield fleet
    finally:
        fleet.close()


def checked(fleet: ProcessFleet) -> None:
    """Assert that the run is complete, that nothing was lost or counted twice, and that work was stale."""
    assert fleet.wait("coordinator", 60) == 0, fleet.log("coordinator")[-3000:]
    entries = entries_of(fleet.run_folder)
    state = replay((entry.event, entry.at_s) for entry in entries)
    told = [answer for client in CLIENTS for answer in answers(client, fleet.log(client))]
    assert violations(fleet.run_folder, told) == []
    assert (state.phase, len(state.outcomes)) == ("complete", ROUNDS)
    folds = {e.event.round: e.seq for e in entries if isinstance(e.event, RoundFolded)}
    stale = [
        entry
        for entry in entries
        if isinstance(entry.event, UpdateReceived) and entry.seq > folds[entry.event.round]
    ]
    assert stale


@pytest.mark.slow
def test_daemons_of_different_speeds_complete_an_asynchronous_run(fleet: ProcessFleet) -> None:
    """The slow one's updates are folded in later rounds than that in which they began."""
    checked(fleet)


@pytest.mark.slow
def test_a_coordinator_that_is_killed_takes_the_old_work_up_again(fleet: ProcessFleet) -> None:
    """After a kill -9 the daemons' work of earlier rounds still counts, once."""
    while len([e for e in entries_of(fleet.run_folder) if isinstance(e.event, RoundFolded)]) < 2:
        assert fleet.processes["coordinator"].poll() is None

    fleet.kill("coordinator")
    fleet.serve(resume=True)

    checked(fleet)
