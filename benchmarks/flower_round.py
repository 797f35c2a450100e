"""How long a round takes over the network when training takes no time: Flower beside ours, in turn.

    python -m benchmarks.flower_round [--clients 2] [--parameters 1000000] [--rounds 4]

Flower: stock FedAvg on a SuperLink with SuperNodes, insecure, nothing installed at run time. Ours: daemons
over mutual TLS (network_round.py). Both on the loopback of this machine, with processes of their own. A
client adds a constant, on Flower a ramp of its own slope, which takes milliseconds: its store sends equal
objects once, and deltas of training never are equal. Of Flower's rounds all count, of ours all but the
last, after which is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from tests.simulation.superlink import SuperLinkFleet

from benchmarks.network_round import run as run_ours

_FEDAVG = {"kind": "factors", "report_error": False}  # which Flower does not measure either

_PROJECT = """
[project]
name = "fedavg"
version = "1.0.0"
description = "A round without training"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "antiphon"

[tool.flwr.app.components]
serverapp = "server_app:app"
clientapp = "client_app:app"

[tool.flwr.app.config]
out = ""
clients = 2
parameters = 1000000
rounds = 3
"""

_SERVER = """
import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid, context):
    given, moments = context.run_config, []
    while len(list(grid.get_node_ids())) < given["clients"]:
        time.sleep(0.1)
    side = 2048
    rows = max(1, given["parameters"] // side // 16)
    arrays = ArrayRecord([np.zeros((rows, side), np.float32) for _ in range(16)])
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=given["clients"])
    note = lambda number, arrays: moments.append(time.time())
    strategy.start(grid, arrays, num_rounds=given["rounds"], evaluate_fn=note)
    rounds = [end - start for start, end in zip(moments, moments[1:])]
    Path(given["out"]).write_text(json.dumps(rounds))
"""

_CLIENT = """
import random

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    arrays = message.content["arrays"].to_numpy_ndarrays()
    ramp = np.linspace(0.0, 0.001, arrays[0].size, dtype=np.float32).reshape(arrays[0].shape)
    moved = ArrayRecord([each + np.float32(random.random()) * ramp for each in arrays])
    metrics = MetricRecord({"num-examples": 10})
    return Message(RecordDict({"arrays": moved, "metrics": metrics}), reply_to=message)
"""


def run_flower(folder: Path, clients: int, parameters: int, rounds: int) -> list[float]:
    """Return the seconds of every round of stock FedAvg on a SuperLink."""
    app, out = folder / "app", folder / "rounds.json"
    app.mkdir(parents=True)
    for name, content in (
        ("pyproject.toml", _PROJECT),
        ("server_app.py", _SERVER),
        ("client_app.py", _CLIENT),
    ):
        (app / name).write_text(content.lstrip())
    fleet = SuperLinkFleet(folder / "flower")
    try:
        fleet.start(clients)
        log = fleet.run(
            app,
            f'out="{out}" clients={clients} parameters={parameters} rounds={rounds}',
            timeout_s=900,
        )
        if not out.exists():
            raise SystemExit(log + fleet.log("superlink"))
        taken: list[float] = json.loads(out.read_text())
        return taken
    finally:
        fleet.close()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int)
    parser.add_argument("--parameters", type=int)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    cases = [(2, 1_000_000), (4, 20_000_000)]
    if given.clients:
        cases = [(given.clients, given.parameters or 1_000_000)]
    print("| Clients | Parameters | Flower, FedAvg | Ours | Flower / ours |")
    print("|---|---|---|---|---|")
    for clients, parameters in cases:
        with tempfile.TemporaryDirectory() as folder:
            theirs = run_flower(Path(folder) / "theirs", clients, parameters, given.rounds)
            (Path(folder) / "ours").mkdir()
            mine = run_ours(Path(folder) / "ours", clients, parameters, given.rounds + 1, _FEDAVG)
        ratio = statistics.median(theirs) / statistics.median(mine)
        print(
            f"| {clients} | {parameters / 1e6:g} M | {_said(theirs)} | {_said(mine)} | "
            f"{ratio:.1f} × |",
            flush=True,
        )


def _said(taken: list[float]) -> str:
    return f"{statistics.median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f})"


if __name__ == "__main__":
    main()
