"""The in-process engine on a worker of numpy, which answers as numpy_trainer.py does.

What engines must agree on is what they plan, pack, send and fold. That takes no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.network.numpy_trainer import payload_of

from antiphon.client.data.clients import ClientData
from antiphon.client.evaluation import HeldOutScores
from antiphon.client.exchanges.exchange import AtSite, Kept, answered, half
from antiphon.client.secure.masking import MaskingPlace, masking_of
from antiphon.core.clock import VirtualClock
from antiphon.core.config import RunConfig, config_hash, resolved
from antiphon.core.directions import run_key
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, create
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Assignment, Package, State, Update
from antiphon.server.federation import Federation
from antiphon.server.run_end import end_run
from antiphon.simulation.engine import Simulation
from antiphon.simulation.fleet import fleet_of
from antiphon.simulation.monitor import Monitor


class NumpyWorker:
    """See client.worker.Worker."""

    def __init__(self, config: RunConfig) -> None:
        """Answer as a client of this run."""
        self._config, self._key = config, run_key(config.seed)
        self.told: list[State] = []

    def train(
        self,
        assignment: Assignment,
        download: Package,
        data: ClientData,
        on_step: Callable[[int, float], None],
        keep: Path | None = None,
        place: MaskingPlace | None = None,
    ) -> Update:
        """Return an update that follows from the assignment and the model."""
        self.told.append(assignment.told)
        num_seeds = self._config.seeds.num_seeds
        payload = payload_of(assignment, download, self._key, num_seeds)
        size = len(data.train)
        told = {"loss": 1.0}
        update = Update(data.name, assignment.round, size, assignment.steps, payload, told)
        masking = masking_of(self._config)
        return masking.masked(update, assignment, download, place) if masking and place else update

    def answer(
        self,
        exchange: str,
        number: int,
        message: bytes,
        kept: Kept,
        data: ClientData,
        site: AtSite,
    ) -> bytes:
        """Answer with the installed half of the exchange."""
        asked = half(exchange, self._config, {})
        return answered(
            asked,
            number=number,
            exchange=exchange,
            message=message,
            kept=kept,
            data=data,
            site=site,
        )

    def load(self, download: Package) -> None:
        """Nothing has to be put in place."""

    def evaluate(self, data: ClientData) -> HeldOutScores:
        """Call every model equally good."""
        return HeldOutScores(10, 1.0, 1.0, None, None)


def simulate_in_numpy(
    config: RunConfig,
    space: SpaceShapes,
    examples: Mapping[str, int],
    worker: NumpyWorker | None = None,
) -> RunFolder:
    """Run a config to its end in this process. examples: of each client, by name."""
    runs = Path(config.output.runs_dir)
    folder = create(runs, config.name, resolved(config), config_hash(config))
    clients = {name: _holding(name, count) for name, count in examples.items()}
    clock = VirtualClock(0.0)
    with Journal.writing(folder.journal_file, sync=False) as journal:
        federation = Federation(config, folder, journal, space, clock)
        engine = Simulation(
            federation,
            worker or NumpyWorker(config),
            clients,
            clock,
            fleet=fleet_of(config, clients),
            under_way={},
            stopwatch=time.perf_counter,
            monitor=Monitor(),
        )
        end_run(federation, engine.run(), {})
    return folder


def _holding(name: str, count: int) -> ClientData:
    return ClientData(name, train=(None,) * count, evaluation=(None,) * 10)
