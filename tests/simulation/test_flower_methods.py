"""What a run can ask for, over letters: the adapter is the simulation's, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.simulation.training_nodes import run_on_letters

from antiphon.core.config import validate
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

pytestmark = pytest.mark.slow

CLIENTS = 4
MIXED = {
    "method": "mixed",
    "mixed": {"seeds": ["meadow"]},
    "seeds": {"space": "adapter", "max_steps": 2, "num_seeds": 64, "learning_rate": 1e-3},
}
TOPK = {"compression": {"uplink": {"kind": "topk", "fraction": 0.1}}}
RUNS: dict[str, dict[str, Any]] = {
    "bf16": {"compression": {"uplink": "bf16", "downlink": "bf16"}},
    "int8": {"compression": {"uplink": "int8", "downlink": "int8"}},
    "ecdq": {"compression": {"uplink": {"kind": "ecdq", "bits": 1.0}, "downlink": "ecdq"}},
    "topk": TOPK,
    "mixed": MIXED | TOPK,
    "frames": {
        "method": "fedsb",
        "frames": "gradient",
        "compression": {"uplink": "ecdq", "downlink": {"kind": "ecdq", "bits": 4}},
    },
    "asynchronous": {"cohort": {"asynchronous": {"buffer": CLIENTS}}},
    # Half of the clients, all equally fast: each round after the first folds what began before it.
    "stale": {"rounds": 3, "cohort": {"asynchronous": {"buffer": 2}}} | TOPK,
    "stale mixed": {"rounds": 3, "cohort": {"asynchronous": {"buffer": 2}}} | MIXED,
    "stale seeds": {"rounds": 3, "cohort": {"asynchronous": {"buffer": 2}}, "method": "seeds"},
}
"""What differs from the tiny run: every codec, mixed rounds, and rounds that do not wait."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What error feedback leaves out goes to a folder of the test's own."""
    monkeypatch.setenv("ANTIPHON_CACHE", str(tmp_path / "cache"))


def adapter(folder: RunFolder, rounds: int) -> bytes:
    return (folder.adapter(rounds) / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("run", RUNS)
def test_letters_end_with_the_simulations_adapter(run: str, tiny_values: dict[str, Any]) -> None:
    """Codecs, mixed rounds and asynchronous rounds give the same bits as in one process."""
    config = validate(tiny_values | {"engine": {"threads": 1}} | RUNS[run])

    here = simulate(config, load_split(config))
    there = run_on_letters(config, CLIENTS)

    assert adapter(there, config.rounds) == adapter(here, config.rounds)


def test_a_full_buffer_is_the_synchronous_round(tiny_values: dict[str, Any]) -> None:
    """Over letters too: where nobody is late, asynchronous rounds change no bit."""
    plain = validate(tiny_values | {"engine": {"threads": 1}})
    buffered = validate(tiny_values | {"engine": {"threads": 1}} | RUNS["asynchronous"])

    ours, theirs = (run_on_letters(each, CLIENTS) for each in (buffered, plain))

    assert adapter(ours, plain.rounds) == adapter(theirs, plain.rounds)
