"""A mixed round against each of its halves alone: held-out loss of everybody's data.

    python -m benchmarks.mixed [--rounds 10] [--seeds 7 8 9]

The `tiny` task. Two clients train by AdamW and send deltas, two take zeroth-order steps on the same
factors and send scalars. A half alone is the same run without the clients of the other half; every final
adapter is measured on the held-out examples of all four.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file

from antiphon.client.data.clients import encode_client
from antiphon.client.worker import Worker
from antiphon.core.config import RunConfig, validate
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import Split, load_split

_TINY = Path(__file__).parent.parent / "examples" / "tiny.yaml"
_SCALARS = ("meadow", "summit")


def config_of(folder: str, seed: int, rounds: int) -> RunConfig:
    """Return the mixed run."""
    values: dict[str, Any] = yaml.safe_load(_TINY.read_text())
    values |= {"name": "mixed", "seed": seed, "rounds": rounds, "method": "mixed"}
    values["mixed"] = {"seeds": list(_SCALARS)}
    values["seeds"] |= {"space": "adapter", "max_steps": 200, "learning_rate": 5e-4}
    values["output"] = {"runs_dir": folder, "adapter_every": rounds}
    values["evaluation"] |= {"every": rounds, "before_first_round": False}
    return validate(values)


def measured(config: RunConfig, split: Split, clients: tuple[str, ...]) -> tuple[float, float, int]:
    """Run some of the clients; return loss and accuracy over all of them, and the bytes up."""
    some = tuple(each for each in split.clients if each.name in clients)
    half = replace(split, clients=some, fleet=None)
    folder = simulate(config, half)
    report = json.loads(folder.report_json.read_text())
    worker = Worker(config)
    try:
        worker.load(load_file(folder.adapter(config.rounds) / "adapter_model.safetensors"))
        data = [
            encode_client(worker.model.tokenizer, each, config.model.max_length)
            for each in split.clients
        ]
        each = [worker.evaluate(client) for client in data]
    finally:
        worker.close()
    loss = statistics.mean(one.loss for one in each)
    accuracy = statistics.mean(one.accuracy or 0.0 for one in each)
    return loss, accuracy, report["bytes"]["up"]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    given = parser.parse_args()
    print("| Seed | Who | Held-out loss | Accuracy | Bytes up |\n|---|---|---|---|---|", flush=True)
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            config = config_of(folder, seed, given.rounds)
            split = load_split(config)
            everybody = tuple(each.name for each in split.clients)
            cases = {
                "LoRA half": tuple(name for name in everybody if name not in _SCALARS),
                "scalar half": _SCALARS,
                "mixed": everybody,
            }
            for who, clients in cases.items():
                loss, accuracy, up = measured(config, split, clients)
                print(f"| {seed} | {who} | {loss:.3f} | {accuracy:.3f} | {up} |", flush=True)


if __name__ == "__main__":
    main()
