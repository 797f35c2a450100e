"""How long a round takes over the network when training takes no time: real processes over mutual TLS.

    python -m benchmarks.network_round [--clients 2] [--parameters 1000000] [--rounds 8]

The trainer returns constant deltas. The clients' homes lie in memory, where the system has a folder for
that: in a fleet every machine has a disk of its own, and the coordinator does not wait for theirs. A round
is from its plan to its end: assignment, model down, update up, checks, commits, fold. The last round is
left out, since the model is measured after it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import yaml
from tests.fuzz.target import memory_folder
from tests.network.fleet import NUMPY_TRAINER, ROOT, ProcessFleet

from antiphon.core.events import RoundEvaluated, RoundPlanned
from antiphon.core.journal import Journal

_SIDE, _RANK = 2048, 16


def shapes(parameters: int) -> dict[str, list[int]]:
    """Return factors of about so many parameters."""
    modules = max(1, round(parameters / (2 * _SIDE * _RANK)))
    factors: dict[str, list[int]] = {}
    for number in range(modules):
        name = f"base_model.model.layers.{number}.q_proj"
        factors[f"{name}.lora_A.weight"] = [_RANK, _SIDE]
        factors[f"{name}.lora_B.weight"] = [_SIDE, _RANK]
    return factors


def config(rounds: int, clients: int, aggregation: object) -> dict[str, object]:
    """Return a run that only moves bytes."""
    values: dict[str, object] = yaml.safe_load((ROOT / "examples" / "tiny.yaml").read_text())
    return values | {
        "name": "network",
        "rounds": rounds,
        "method": "lora",
        "lora": {"r": _RANK, "target_modules": "all-linear"},
        "aggregation": aggregation,
        "cohort": {"min_clients": clients},
        "evaluation": {"before_first_round": False, "every": rounds},
        "output": {"adapter_every": rounds},
    }


def run(
    folder: Path, clients: int, parameters: int, rounds: int, aggregation: object
) -> list[float]:
    """Run it; return the seconds of every round but the last."""
    data = folder / "data.json"
    data.write_text(json.dumps({"examples": 10, "constant": 0.001, "factors": shapes(parameters)}))
    with tempfile.TemporaryDirectory(dir=memory_folder()) as homes:
        fleet = ProcessFleet(folder, config(rounds, clients, aggregation), homes=Path(homes))
        return _rounds(fleet, data, [f"client-{number}" for number in range(clients)])


def _rounds(fleet: ProcessFleet, data: Path, names: list[str]) -> list[float]:
    try:
        fleet.serve()
        fleet.wait_until_served()
        fleet.enrol(*names)
        for name in names:
            fleet.client(name, data, trainer=NUMPY_TRAINER)
        if fleet.wait("coordinator", 600) != 0:
            raise SystemExit(fleet.log("coordinator"))
        with Journal.reading(fleet.run_folder.journal_file) as journal:
            moments = [entry.at_s for entry in journal.read(kinds=[RoundPlanned])]
            ends = [
                entry.at_s
                for entry in journal.read(kinds=[RoundEvaluated])
                if isinstance(entry.event, RoundEvaluated) and entry.event.round
            ]
        return [end - start for start, end in zip(moments[:-1], ends[:-1], strict=True)]
    finally:
        fleet.close()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int)
    parser.add_argument("--parameters", type=int)
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    cases = [(2, 1_000_000), (4, 20_000_000)]
    if given.clients:
        cases = [(given.clients, given.parameters or 1_000_000)]
    print("| Daemons | Parameters | Aggregation | Median round | Slowest | First |")
    print("|---|---|---|---|---|---|")
    for clients, parameters in cases:
        for aggregation in ("factors", "product"):
            with tempfile.TemporaryDirectory() as folder:
                taken = run(Path(folder), clients, parameters, given.rounds, aggregation)
            print(
                f"| {clients} | {parameters / 1e6:.0f} M | {aggregation} | "
                f"{statistics.median(taken):.2f} s | {max(taken):.2f} s | {taken[0]:.2f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
