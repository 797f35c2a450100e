"""The same config and seeds end with the same adapter, bit for bit, whatever the engine: with torch.

By day one run of two clients, one of each method, and at night all that can be asked for. What is planned,
packed, sent and folded is compared by day in tests/network/test_same_bits.py, without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.network.fleet import ProcessFleet
from tests.test_triples import LEGAL

from antiphon.cli.split import split_run
from antiphon.core.config import validate
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split


@contextmanager
def fleet_of(folder: Path, values: dict[str, Any]) -> Iterator[ProcessFleet]:
    """A fleet whose processes do not outlive the block."""
    fleet = ProcessFleet(folder, values)
    try:
        yield fleet
    finally:
        fleet.close()


def run_daemons(folder: Path, values: dict[str, Any]) -> RunFolder:
    """Run a config on real daemons, each with its share of the rows as `antiphon split` writes it."""
    with fleet_of(folder, values) as fleet:
        split_run(fleet.run_file, (), folder / "shares", Console(quiet=True))
        shares = sorted((folder / "shares").glob("*.jsonl"))
        fleet.serve()
        fleet.wait_until_served()
        fleet.enrol(*(share.stem for share in shares))
        for share in shares:
            fleet.client(share.stem, share, threads=1)
        for share in shares:
            assert fleet.wait(share.stem, 300) == 0, fleet.log(share.stem)
        assert fleet.wait("coordinator", 60) == 0, fleet.log("coordinator")
        return fleet.run_folder


TWO_OF_FOUR = {"min_clients": 4, "size": 2}
RUNS: dict[str, dict[str, Any]] = {
    "lora": {},
    "seeds": {"method": "seeds"},
    "bf16": {
        "compression": {"uplink": "bf16", "downlink": "bf16"},
        "cohort": TWO_OF_FOUR | {"scheduler": "random"},
    },
    "int8": {"compression": {"uplink": "int8", "downlink": "int8"}},
    # How long a client took is not the same on two engines, so it must not count here.
    "topk": {
        "compression": {"uplink": {"kind": "topk", "fraction": 0.1}},
        "cohort": TWO_OF_FOUR | {"scheduler": {"kind": "oort", "penalty": 0.0}},
    },
    "mixed": {
        "method": "mixed",
        "mixed": {"seeds": ["meadow"]},
        "seeds": {"space": "adapter", "max_steps": 10, "num_seeds": 64, "learning_rate": 1e-3},
        "compression": {"uplink": {"kind": "ecdq", "bits": 1.0}},
    },
}
"""What differs from the tiny run: every codec, every scheduler and both methods in one round."""


def check_agreement(folder: Path, values: dict[str, Any]) -> None:
    """Run a config both ways and compare the adapters."""
    config = validate(values)

    simulated = simulate(config, load_split(config))
    served = run_daemons(folder, values)

    ours, theirs = (each.adapter(config.rounds) / "adapter_model.safetensors"
                    for each in (simulated, served))  # fmt: skip
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
@pytest.mark.network
def test_a_client_of_each_method_agrees(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """Over mutual TLS, a LoRA client and a seeds client end with the simulation's adapter."""
    values = tiny_values | {"engine": {"threads": 1}, "cohort": {"min_clients": 2}} | RUNS["mixed"]
    values["data"] = values["data"] | {"partition": "iid", "clients": 2}
    values["mixed"] = {"seeds": ["client-00"]}

    check_agreement(tmp_path / "fleet", values)


@pytest.mark.slow
@pytest.mark.network
def test_frames_that_clients_have_found_agree(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """Over mutual TLS, two clients sketch their gradients, receive the frames, and train between them."""
    values = tiny_values | {"engine": {"threads": 1}, "cohort": {"min_clients": 2}, "rounds": 2}
    values |= {"method": "fedsb", "frames": "gradient"}
    values["data"] = values["data"] | {"partition": "iid", "clients": 2}
    values["training"] = values["training"] | {"max_steps": 2}
    values["compression"] = {"uplink": "ecdq", "downlink": {"kind": "ecdq", "bits": 4}}

    check_agreement(tmp_path / "fleet", values)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("run", RUNS)
def test_a_simulation_and_real_daemons_agree(
    run: str, tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    """Four daemons over mutual TLS end with the simulation's adapter."""
    one_thread = {**tiny_values.get("engine", {}), "threads": 1}

    check_agreement(
        tmp_path / "fleet",
        tiny_values | {"engine": one_thread, "cohort": {"min_clients": 4}} | RUNS[run],
    )


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("triple", LEGAL, ids="-".join)
def test_every_triple_agrees(
    triple: tuple[str, str, str], tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever a config writes out, two daemons end with the simulation's adapter."""
    values = tiny_values | {"engine": {"threads": 1}, "cohort": {"min_clients": 2}, "rounds": 2}
    values["method"] = dict(zip(("space", "trainer", "form"), triple, strict=True))
    values["data"] = values["data"] | {"partition": "iid", "clients": 2}
    values["training"] = values["training"] | {"max_steps": 2}
    values["seeds"] = values["seeds"] | {"space": "adapter", "max_steps": 3, "num_seeds": 64}
    values["projection"] = {"directions": 256}

    check_agreement(tmp_path / "fleet", values)
