"""Rounds of several exchanges in the simulation, with a method that somebody else has installed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.committed import install
from tests.network.fleet import NUMPY_TRAINER, ROOT, ProcessFleet
from tests.network.nemesis import CLIENTS, run_config, write_data
from tests.network.numpy_engine import NumpyWorker, simulate_in_numpy
from tests.network.planted import PLANTED
from tests.plugins import installed

from antiphon.core.config import RunConfig, validate
from antiphon.core.errors import ConfigError
from antiphon.core.events import (
    AnswerReceived,
    ClientFailed,
    Event,
    ExchangeCombined,
    RoundFolded,
    RoundPlanned,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import to_bytes
from antiphon.server.machine.round import replay

EXAMPLES = {"ada": 10, "bea": 11, "cleo": 12}


@pytest.fixture(autouse=True)
def _method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path / "site")
    with installed(tmp_path / "site", monkeypatch):
        yield


def config(folder: Path, method: str = "committed", **changes: object) -> RunConfig:
    values = run_config("lora", 2) | {"method": method} | changes
    return validate(values | {"output": {"runs_dir": str(folder / "runs"), "plots": False}})


def simulated(
    folder: Path, chosen: RunConfig, worker: NumpyWorker | None = None
) -> tuple[RunFolder, list[Event]]:
    told = json.loads(write_data(folder, "lora")["ada"].read_text())
    space = SpaceShapes(told["factors"], {}, "tiny", 1)
    run = simulate_in_numpy(chosen, space, EXAMPLES, worker)
    with Journal.reading(run.journal_file) as journal:
        return run, [entry.event for entry in journal.read()]


def test_each_round_goes_through_its_list(tmp_path: Path) -> None:
    """All commit, train, and reveal; then the round is folded, and its answers are removed."""
    folder, events = simulated(tmp_path, config(tmp_path))

    steps = [type(each) for each in events if isinstance(each, STEPS)]
    a_round: list[type[Event]] = [AnswerReceived] * 3 + [ExchangeCombined] + [UpdateReceived] * 3
    a_round += [AnswerReceived] * 3 + [ExchangeCombined, RoundFolded]
    assert steps == 2 * a_round
    answers = [each for each in events if isinstance(each, AnswerReceived)]
    assert [each.exchange for each in answers] == 2 * (["commit"] * 3 + ["reveal"] * 3)
    assert not list(folder.path.glob("rounds/*/answers"))
    assert not (folder.path / "kept").exists()


STEPS = (AnswerReceived, ExchangeCombined, UpdateReceived, RoundFolded)


def test_everybody_trains_with_what_the_answers_have_come_to(tmp_path: Path) -> None:
    """The mean of what the three have committed to goes with each assignment."""
    chosen = config(tmp_path)
    worker = NumpyWorker(chosen)

    simulated(tmp_path, chosen, worker)

    assert len(worker.told) == 6
    assert all(each["mean"] == pytest.approx([22.0]) for each in worker.told)


def test_the_plan_names_the_exchanges(tmp_path: Path) -> None:
    """In their order, with what each needs; training's are the plan's own."""
    _, events = simulated(tmp_path, config(tmp_path))

    plan = next(each for each in events if isinstance(each, RoundPlanned))

    row = {"fewest": 3, "deadline_s": 600.0}
    assert plan.exchanges == {"commit": row, "training": {}, "reveal": row}
    assert list(plan.exchanges) == ["commit", "training", "reveal"]


def test_the_journal_is_replayed(tmp_path: Path) -> None:
    """What the machine knows of a run with exchanges follows from its journal."""
    _, events = simulated(tmp_path, config(tmp_path))

    assert replay((event, 0.0) for event in events).phase == "complete"


class Lies(NumpyWorker):
    """A worker whose cleo reveals another number than it has committed to."""

    def answer(self, exchange, number, message, kept, data, site):  # type: ignore[no-untyped-def]
        """Answer as the others do, but for that."""
        answer = super().answer(exchange, number, message, kept, data, site)
        if exchange == "reveal" and data.name == "cleo":
            return to_bytes({"number": np.array([99], np.uint64)})
        return answer


def test_a_false_answer_is_refused(tmp_path: Path) -> None:
    """The method's own check finds it; its update, which had come before, still counts."""
    chosen = config(tmp_path, cohort={"min_clients": 3, "quorum": 2, "deadline_s": 600.0})

    _, events = simulated(tmp_path, chosen, Lies(chosen))

    refused = [each for each in events if isinstance(each, UpdateRejected)]
    assert [(each.client, each.exchange) for each in refused] == [("cleo", "reveal")]
    assert "not what the client has committed to" in refused[0].reason
    assert sum(isinstance(each, RoundFolded) for each in events) == 2


class Fails(NumpyWorker):
    """A worker that has no half of the exchange, as a client that lacks the distribution."""

    def answer(self, exchange, number, message, kept, data, site):  # type: ignore[no-untyped-def]
        """Answer for all but cleo."""
        name = "missing" if data.name == "cleo" else exchange
        return super().answer(name, number, message, kept, data, site)


def test_who_cannot_answer_has_failed(tmp_path: Path) -> None:
    """It is said, and the round goes on with the others."""
    chosen = config(tmp_path, cohort={"min_clients": 3, "quorum": 2, "deadline_s": 600.0})

    _, events = simulated(tmp_path, chosen, Fails(chosen))

    failed = [each for each in events if isinstance(each, ClientFailed)]
    assert [(each.client, each.exchange) for each in failed] == [("cleo", "commit")]
    assert "an exchange that is not here" in failed[0].reason
    updates = {each.client for each in events if isinstance(each, UpdateReceived)}
    assert updates == {"ada", "bea"}


def test_several_exchanges_in_an_asynchronous_run_are_refused(tmp_path: Path) -> None:
    """Before anything is journalled, with what to do."""
    cohort = {"min_clients": 3, "deadline_s": 600.0, "asynchronous": {"buffer": 2}}
    chosen = config(tmp_path, cohort=cohort)

    with pytest.raises(ConfigError, match=r"leave out cohort\.asynchronous"):
        simulated(tmp_path, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("dies", [None, "before acknowledgement:2", "events stepped:5"])
def test_daemons_go_through_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str | None
) -> None:
    """Over mutual TLS the same adapter comes out, though the coordinator dies among the answers."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{ROOT}")
    here, _ = simulated(tmp_path, config(tmp_path))
    fleet = ProcessFleet(tmp_path / "there", run_config("lora", 2) | {"method": "committed"})
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
        events = [entry.event for entry in journal.read(kinds=[AnswerReceived])]
    answers = [each for each in events if isinstance(each, AnswerReceived)]
    assert len({(each.client, each.round, each.exchange) for each in answers}) == len(answers) == 12


def test_the_adapter_is_the_one_without_the_exchanges(tmp_path: Path) -> None:
    """What clients answer beside training decides nothing in this method: the same bits come out."""
    with_them, _ = simulated(tmp_path, config(tmp_path))
    without, _ = simulated(tmp_path, config(tmp_path, "lora"))

    files = [each.adapter(2) / "adapter_model.safetensors" for each in (with_them, without)]

    assert files[0].read_bytes() == files[1].read_bytes()
    assert set(EXAMPLES) == set(CLIENTS)
