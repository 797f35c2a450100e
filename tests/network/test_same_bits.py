"""What is planned, packed, sent and folded is the same in one process and over mutual TLS, bit for bit.

The worker is numpy's on both sides. That torch's numbers pass through a daemon as they are is the fact of
tests/client/test_worker_process.py, and of one run of tests/test_engines_agree.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.network.fleet import NUMPY_TRAINER, ProcessFleet
from tests.network.nemesis import CLIENTS, run_config, write_data
from tests.network.numpy_engine import simulate_in_numpy

from antiphon.core.config import validate
from antiphon.core.events import BytesMoved
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, read_state
from antiphon.core.space import SpaceShapes
from antiphon.core.types import CodecChoice
from antiphon.core.wire import CodedModel, pack_model
from antiphon.strategies.compression.downlink import code

ROUNDS = 3
TWO_OF_THREE = {"min_clients": 3, "size": 2, "deadline_s": 600.0}
RUNS: dict[str, dict[str, Any]] = {
    "int8 up, bf16 down, two at random": {
        "compression": {"uplink": "int8", "downlink": "bf16"},
        "cohort": TWO_OF_THREE | {"scheduler": "random"},
    },
    # How long a client took is not the same on two engines, so it must not count here.
    "topk up, int8 down, the two that oort picks": {
        "compression": {"uplink": {"kind": "topk", "fraction": 0.1}, "downlink": "int8"},
        "cohort": TWO_OF_THREE | {"scheduler": {"kind": "oort", "penalty": 0.0}},
    },
    "ecdq both ways": {
        "compression": {"uplink": {"kind": "ecdq", "bits": 1.0}, "downlink": "ecdq"}
    },
    "changes": {
        "compression": {
            "uplink": {"kind": "ecdq", "bits": 1.0},
            "downlink": {"kind": "ecdq", "bits": 1.0},
            "changes": True,
        },
        "lora": {"r": 4, "target_modules": "all-linear"},
    },
    "seeds": {"method": "seeds"},
}
"""What differs from a plain run: every codec but bf16 upwards (test_ledger.py), and every scheduler."""


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_a_simulation_and_daemons_end_with_the_same_adapter(run: str, tmp_path: Path) -> None:
    """Three daemons end with the adapter that one process ends with."""
    changes = RUNS[run]
    method = changes.get("method", "lora")
    values = run_config(method, ROUNDS) | {"aggregation": "factors"} | changes
    files = write_data(tmp_path, method)
    told = {name: json.loads(file.read_text()) for name, file in files.items()}

    here = validate(values | {"output": {"runs_dir": str(tmp_path / "here"), "plots": False}})
    space = SpaceShapes(told["ada"].get("factors", {}), told["ada"].get("weights", {}), "tiny", 1)
    simulated = simulate_in_numpy(
        here, space, {name: each["examples"] for name, each in told.items()}
    )
    fleet = ProcessFleet(tmp_path / "there", values)
    try:
        fleet.serve()
        fleet.wait_until_served()
        fleet.enrol(*CLIENTS)
        for client, file in files.items():
            fleet.client(client, file, trainer=NUMPY_TRAINER)
        assert fleet.wait("coordinator", 120) == 0, fleet.log("coordinator")[-3000:]
    finally:
        fleet.close()

    ours, theirs = (
        (folder.adapter(ROUNDS) / "adapter_model.safetensors").read_bytes()
        if method == "lora"
        else folder.state_file(ROUNDS).read_bytes()
        for folder in (simulated, fleet.run_folder)
    )
    assert ours == theirs
    if "changes" in run:
        _check_bytes(simulated, fleet.run_folder)


def _check_bytes(simulated: RunFolder, served: RunFolder) -> None:
    """Each client has received each round's change, and no model, on both engines."""
    states = [read_state(served.state_file(number)) for number in range(1, ROUNDS + 1)]
    codec = CodecChoice("ecdq", {"bits": 1.0})
    changes = sum(pack_model(CodedModel(codec, code(each)))[0].size for each in states)

    assert _bytes_down(served) == dict.fromkeys(CLIENTS, changes)
    for client, moved in _bytes_down(simulated).items():
        # The simulation counts its assignments too.
        assert 0 < moved - changes < ROUNDS * 400, client


def _bytes_down(folder: RunFolder) -> dict[str, int]:
    moved = dict.fromkeys(CLIENTS, 0)
    with Journal.reading(folder.journal_file) as journal:
        for entry in journal.read(kinds=[BytesMoved]):
            event = entry.event
            if isinstance(event, BytesMoved) and event.purpose == "model":
                moved[event.client] += event.bytes
    return moved
