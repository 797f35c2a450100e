"""Secure sums in the simulation: what a plain run learns, what the disk holds, and who may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError
from antiphon.core.events import ClientFailed, Event, RoundFolded, RoundPlanned, UpdateReceived
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.flower.grid_run import check_engine
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

SURROGATE = (
    "engine.surrogate={}", "data.partition=iid", "data.clients=5", "training.learning_rate=0.1",
    "rounds=3", "evaluation.every=3", "output.keep_updates=true",
)  # fmt: skip
SECURE = "privacy.secure_aggregation.reach=4"


def run(config: RunConfig) -> tuple[RunFolder, list[Event]]:
    folder = simulate(config, load_split(config))
    with Journal.reading(folder.journal_file) as journal:
        return folder, [entry.event for entry in journal.read()]


def adapter(folder: RunFolder) -> dict[str, Any]:
    """Return the tensors that a run ends with."""
    last = max(folder.path.glob("rounds/*/adapter"))
    return dict(load_file(last / "adapter_model.safetensors"))


@pytest.mark.parametrize("method", ["ffa", "fedsb"])
def test_a_run_learns_what_it_learns_without_masks(tiny_config: Any, method: str) -> None:
    """But for what the grid rounds off."""
    plain, _ = run(tiny_config(*SURROGATE, f"method={method}", "protection=[]"))
    secure, events = run(tiny_config(*SURROGATE, f"method={method}", SECURE))

    assert sum(isinstance(each, RoundFolded) for each in events) == 3
    for name, each in adapter(plain).items():
        np.testing.assert_allclose(adapter(secure)[name], each, atol=2e-4)


def test_a_run_by_seeds_learns_what_it_learns_without_masks(tiny_config: Any) -> None:
    """The scalars of each client are coefficients of K seeds, and those are summed."""
    changed = ("method=seeds", "rounds=1", "seeds.max_scalar=100")
    plain, _ = run(tiny_config(*changed, "protection=[]"))
    secure, _ = run(tiny_config(*changed, "privacy.secure_aggregation.bits=24"))

    for name, each in adapter(plain).items():
        np.testing.assert_allclose(adapter(secure)[name], each, atol=2e-5)


def test_the_coordinators_disk_never_holds_one_clients_update(tiny_config: Any) -> None:
    """Neither in float32 nor on the grid, though the run keeps what was sent."""
    plain, _ = run(tiny_config(*SURROGATE, "method=ffa", "protection=[]", "rounds=1"))
    secure, _ = run(tiny_config(*SURROGATE, "method=ffa", SECURE, "rounds=1"))
    sent = list(plain.path.glob("rounds/*/updates/*.safetensors"))
    assert len(sent) == 5

    held = b"".join(each.read_bytes() for each in sorted(secure.path.rglob("*")) if each.is_file())

    for file in sent:
        for tensor in load_file(file).values():
            assert tensor.tobytes()[:64] not in held
    assert not (secure.path / "kept").exists()


def test_a_round_needs_as_many_as_the_threshold_says(tiny_config: Any) -> None:
    """Whatever the quorum: of five clients seven in ten are four."""
    _, events = run(tiny_config(*SURROGATE, "method=ffa", SECURE, "cohort.quorum=1"))

    plans = [each for each in events if isinstance(each, RoundPlanned)]
    assert {each.quorum for each in plans} == {4}


def test_a_round_goes_on_without_those_who_fail(tiny_config: Any, tmp_path: Path) -> None:
    """One in five dies while it trains: its masks with the others are made again and taken away."""
    fleet = tmp_path / "fleet.yaml"
    rows = [{"count": 4, "step_s": 1.0}, {"count": 1, "step_s": 1.0, "failure_rate": 0.5}]
    fleet.write_text(yaml.safe_dump({"clients": rows}))
    changed = (*SURROGATE, "method=ffa", f"engine.fleet={fleet}", "rounds=6", "evaluation.every=6")

    _, events = run(tiny_config(*changed, SECURE))

    failed = {
        each.round
        for each in events
        if isinstance(each, ClientFailed) and each.exchange == "training"
    }
    folded = {each.round for each in events if isinstance(each, RoundFolded)}
    assert failed & folded
    in_it = [
        each
        for each in events
        if isinstance(each, UpdateReceived) and each.round in failed & folded
    ]
    assert {each.client for each in in_it} == {f"client-0{index}" for index in range(4)}


def test_flowers_engine_refuses_it(tiny_config: Any) -> None:
    """Its nodes have no certificates to sign their keys with."""
    with pytest.raises(ConfigError, match="certificates"):
        check_engine(tiny_config("method=ffa", SECURE))


def test_asynchronous_rounds_refuse_it(tiny_config: Any) -> None:
    """Whoever goes on from round to round goes through no list of exchanges with others."""
    with pytest.raises(ConfigError, match="asynchronous"):
        run(tiny_config(*SURROGATE, "method=ffa", SECURE, "cohort.asynchronous={}"))
