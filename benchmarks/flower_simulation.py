"""Client-rounds per second when training takes no time: Flower's simulation beside ours.

    python -m benchmarks.flower_simulation [--clients 16] [--parameters 1000000] [--rounds 6]

Stock FedAvg on Flower's Ray engine sends the model to every client and means what comes back; so does our
engine in one process, and our driver on Flower's engine. A client adds a constant. Each is timed round by
round; the first, in which Ray starts and actors load, is left out.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from antiphon.client.data.clients import ClientData
from antiphon.client.worker import Worker
from antiphon.core import config as configs
from antiphon.core.clock import VirtualClock
from antiphon.core.config import RunConfig
from antiphon.core.events import RoundPlanned
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, create
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Assignment, Package, Params, Update
from antiphon.core.wire import as_tensors, pack_update, unpack_assignment, unpack_model
from antiphon.server.federation import Federation
from antiphon.simulation.engine import Simulation
from antiphon.simulation.fleet import fleet_of
from antiphon.simulation.flower.engine import client_app, on_ray
from antiphon.simulation.flower.grid_run import run_over
from antiphon.simulation.flower.letters import Kind, Parcel
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.place import Place
from antiphon.v1 import coordinator_pb2, update_pb2
from benchmarks.network_round import config as network_config
from benchmarks.network_round import shapes

_STEP = np.float32(0.001)


def flower(clients: int, parameters: int, rounds: int) -> list[float]:
    """Return the seconds of every round but the first, of stock FedAvg on Ray."""
    initial = [np.zeros(shape, np.float32) for shape in shapes(parameters).values()]
    ends: list[float] = []
    server, client = ServerApp(), ClientApp()

    @client.train()
    def train(message: Message, context: Context) -> Message:
        arrays = cast(ArrayRecord, message.content["arrays"])
        moved = ArrayRecord([each + _STEP for each in arrays.to_numpy_ndarrays()])
        counted = MetricRecord({"num-examples": 10})
        return Message(RecordDict({"arrays": moved, "metrics": counted}), reply_to=message)

    def ended(number: int, arrays: ArrayRecord) -> None:
        ends.append(time.perf_counter())

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=clients)
        strategy.start(grid, ArrayRecord(initial), num_rounds=rounds, evaluate_fn=ended)

    logging.getLogger("flwr").setLevel(logging.ERROR)
    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, client, num_supernodes=clients, backend_config=cast(Any, resources))
    return [end - start for start, end in pairwise(ends[1:])]


def ours(clients: int, parameters: int, rounds: int, folder: Path) -> list[float]:
    """Return the seconds of every round but the first, of the engine in one process."""
    config, space = _config(clients, rounds, folder), _space(parameters)
    names = [f"client-{number:04d}" for number in range(clients)]
    data = {name: ClientData(name, cast(Any, range(10)), ()) for name in names}
    run_folder = _folder(config)
    with closing(Journal.writing(run_folder.journal_file, sync=False)) as journal:
        clock, wall = VirtualClock(), _Rounds()
        federation = Federation(config, run_folder, journal, space, clock)
        fleet, worker = fleet_of(config, names), cast(Worker, _NoWorker())
        Simulation(
            federation, worker, data, clock,
            fleet=fleet, under_way={}, stopwatch=time.perf_counter, monitor=wall,
        ).run()  # fmt: skip
    return wall.seconds()


def ours_on_flower(clients: int, parameters: int, rounds: int, folder: Path) -> list[float]:
    """Return the seconds of every round but the first, of our driver on Flower's Ray."""
    config, space = _config(clients, rounds, folder), _space(parameters)
    run_folder, wall = _folder(config), _Rounds()
    app = client_app(_Always(config), _NoNode(space))
    with (
        on_ray(app, clients, cpus=1, gpus=0.0) as post,
        closing(Journal.writing(run_folder.journal_file)) as journal,
    ):
        run_over(
            post, config, run_folder, journal, space,
            min_clients=clients, monitor=wall, on_refused=_refused, poll_s=0.02, facts={}, secret=b"",
        )  # fmt: skip
    return wall.seconds()


class _Rounds(Monitor):
    """Notes when rounds are planned: one begins where the one before it has ended."""

    def __init__(self) -> None:
        self._starts: list[float] = []

    def round_planned(self, plan: RoundPlanned) -> None:
        """A round begins."""
        self._starts.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Return the seconds of each round but the first and the last, after which is measured."""
        return [end - start for start, end in pairwise(self._starts[1:])]


class _NoWorker:
    """Adds a constant instead of training."""

    def train(
        self, assignment: Assignment, download: Params, data: ClientData, on_step: Any, *_: Any
    ) -> Update:
        return _update(assignment, download)

    def load(self, download: Params) -> None:
        """Nothing to load."""

    def evaluate(self, data: ClientData) -> Any:
        """Nothing to measure."""
        from antiphon.client.evaluation import HeldOutScores

        return HeldOutScores(1, 1.0, 1.0, None, None)


class _Always:
    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def __call__(self, settings: Mapping[str, object]) -> RunConfig:
        return self._config


class _NoNode:
    """A node without a model."""

    def __init__(self, space: SpaceShapes) -> None:
        self._space = space

    def __call__(self, kind: Kind, parcel: Parcel, config: RunConfig, place: Place) -> Parcel:
        name = f"client-{place.partition:04d}"
        if kind == "join":
            said = coordinator_pb2.JoinRequest(
                config_hash=configs.config_hash(config), examples=10, evaluation_examples=1
            )
            for factor, (rows, columns) in self._space.factors.items():
                said.space.factors.add(name=factor, rows=rows, columns=columns)
            return Parcel(said.SerializeToString(), client=name)
        if kind == "evaluate":
            number = coordinator_pb2.EvaluateTask.FromString(parcel.message).round
            measured = coordinator_pb2.SubmitEvaluationRequest(round=number, metrics={"loss": 1.0})
            return Parcel(measured.SerializeToString())
        run_id = update_pb2.Assignment.FromString(parcel.message).run_id
        assignment, blob = unpack_assignment(parcel.message, name, run_id)
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(parcel.content)
            download = as_tensors(unpack_model(Path(file.name), blob.encoding))
        packed = pack_update(_update(assignment, download), run_id)
        return Parcel(packed.message, packed.joined)


def _update(assignment: Assignment, download: Params) -> Update:
    delta = {name: np.full(download[name].shape, _STEP) for name in sorted(download)}
    payload = Package("delta", delta)
    return Update(assignment.client, assignment.round, 10, assignment.steps, payload, {"loss": 1.0})


def _config(clients: int, rounds: int, folder: Path) -> RunConfig:
    values = dict(network_config(rounds + 1, clients, "factors"))
    values["evaluation"] = {"before_first_round": False, "every": rounds + 1}
    values["output"] = {"runs_dir": str(folder), "adapter_every": rounds + 1}
    values["aggregation"] = {"kind": "factors", "report_error": False}  # FedAvg reports none
    return configs.validate(values)


def _space(parameters: int) -> SpaceShapes:
    factors = {name: (rows, columns) for name, (rows, columns) in shapes(parameters).items()}
    return SpaceShapes(factors, {}, "none", parameters)


def _folder(config: RunConfig) -> RunFolder:
    runs, hashed = Path(config.output.runs_dir), configs.config_hash(config)
    return create(runs, config.name, configs.resolved(config), hashed)


def _refused(node: int, reason: str) -> None:
    raise SystemExit(reason)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    case = (given.clients, given.parameters, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], list[float]]] = {
            "Flower, FedAvg on Ray": lambda: flower(*case),
            "ours on Flower's Ray": lambda: ours_on_flower(*case, Path(folder) / "ray"),
            "ours in one process": lambda: ours(*case, Path(folder) / "here"),
        }
        print(f"{given.clients} clients, {given.parameters / 1e6:g} M float32, no training\n")
        print("| Engine | Median round | Client-rounds per second | Beside Flower |")
        print("|---|---|---|---|")
        reference = 0.0
        for name, run in runs.items():
            rate = given.clients / statistics.median(taken := run())
            reference = reference or rate
            row = f"| {name} | {statistics.median(taken):.3f} s | {rate:.1f} | {rate / reference:.1f} × |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
