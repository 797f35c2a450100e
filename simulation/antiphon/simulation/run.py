"""A whole simulated run: data, split, model, engine, report.

Everything that can be wrong with the config, the data or the model is found before the run folder is
made, so that a mistake leaves nothing behind.
"""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from functools import partial

from antiphon.client.data.clients import ClientData
from antiphon.client.shapes import space_of
from antiphon.client.worker import peak_memory_bytes
from antiphon.core.clock import VirtualClock
from antiphon.core.config import RunConfig
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Plain
from antiphon.server.folding.fold_secret import simulated_secret
from antiphon.server.run_begin import begin_run, new_folder, resumed_folder
from antiphon.server.run_end import end_run
from antiphon.simulation.engine import Simulation
from antiphon.simulation.fleet import SimulatedFleet, check_deadline, fleet_of
from antiphon.simulation.monitor import Monitor, MonitorFor, OnFolder
from antiphon.simulation.resumption import bytes_up, under_way
from antiphon.simulation.shares import Split, refuse_other_data
from antiphon.simulation.split import draw_split
from antiphon.simulation.surrogate import Surrogate
from antiphon.simulation.workers import Workers
from antiphon.simulation.workforce import Workforce


def simulate(
    config: RunConfig,
    split: Split,
    *,
    resume: bool = False,
    from_round: int | None = None,
    monitor_for: MonitorFor = lambda clients: nullcontext(Monitor()),
    on_folder: OnFolder = lambda folder: None,
) -> RunFolder:
    """Run a config on this machine and write its report; return the run's folder.

    from_round: whose model a resumed run goes on with, where a newer one is damaged; on_folder: is called
    before the first round. Raises UserError for what the user can mend, ReportError where only the report
    is missing; KeyboardInterrupt passes through and leaves a run that can be resumed, or one that is over.
    """
    resumed = resumed_folder(config) if resume else None
    if config.engine.kind == "flower":
        # Imported here: Flower is an extra, and takes a second to import.
        from antiphon.simulation.flower.run import simulate_on_flower

        return simulate_on_flower(
            config,
            split,
            resumed=resumed,
            from_round=from_round,
            monitor_for=monitor_for,
            on_folder=on_folder,
        )
    check_deadline(config)
    space, fleet = space_of(config), split.fleet or fleet_of(config, _names(split))
    with closing(_workforce(config, fleet, space)) as worker:
        clients = {each.name: worker.encoded(each) for each in split.clients}
        folder = resumed or new_folder(config)
        on_folder(folder)
        with Journal.writing(folder.journal_file, sync=False) as journal:
            refuse_other_data(journal, split)
            clock = VirtualClock(_last_moment(journal))
            worker.write_tokenizer(folder.tokenizer)
            begun = partial(begin_run, engine=config.engine.kind, secret=simulated_secret(config))
            begun = partial(begun, facts=_facts(worker, clients, split), from_round=from_round)
            federation = begun(config, folder, journal, space, clock)
            if config.output.plots:
                draw_split(split.clients, folder.plots / "split.svg", split.labels)
            with monitor_for(len(clients)) as monitor:
                monitor.started(bytes_up(journal))
                for sentence in worker.advice(clients.values()):
                    monitor.advised(sentence)
                engine = Simulation(
                    federation,
                    worker,
                    clients,
                    clock,
                    fleet=fleet,
                    under_way=under_way(journal.read()),
                    stopwatch=time.perf_counter,
                    monitor=monitor,
                )
                finish = engine.run()
            end_run(federation, finish, {"peak_memory_bytes": peak_memory_bytes()})
    return folder


def _names(split: Split) -> list[str]:
    return [each.name for each in split.clients]


def _workforce(config: RunConfig, fleet: SimulatedFleet, space: SpaceShapes) -> Workforce:
    return Surrogate(config, space) if config.engine.surrogate else Workers(config, fleet)


def _last_moment(journal: Journal) -> float:
    return max((entry.at_s for entry in journal.read()), default=0.0)


def _facts(worker: Workforce, clients: dict[str, ClientData], split: Split) -> dict[str, Plain]:
    fleet = {"fleet_digest": split.fleet_digest} if split.fleet_digest else {}
    return {
        **worker.facts,
        "skipped_rows": len(split.skipped),
        "data_digest": split.digest,
        **fleet,
        "cut_examples": sum(client.cut for client in clients.values()),
    }
