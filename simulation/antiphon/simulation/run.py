"""A whole simulated run: data, split, model, engine, report.

Everything that can be wrong with the config, the data or the model is found before the run folder is
made, so that a mistake leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

from antiphon.client.data.advice import advice
from antiphon.client.data.clients import ClientData, ClientExamples, encode_client
from antiphon.client.data.rows import Rows, load_rows
from antiphon.client.tokenizer_folder import write_tokenizer
from antiphon.client.worker import Worker, peak_memory_bytes
from antiphon.core import registry
from antiphon.core.clock import VirtualClock
from antiphon.core.config import RunConfig
from antiphon.core.errors import RunFolderError
from antiphon.core.events import RunDescribed
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.types import Plain
from antiphon.server.planning import check_cohort
from antiphon.server.run_begin import begin_run, new_folder, resumed_folder
from antiphon.server.run_end import end_run
from antiphon.simulation.engine import Simulation
from antiphon.simulation.fleet import Fleet, check_deadline, fleet_of
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.resumption import bytes_up, under_way
from antiphon.simulation.space import space_of
from antiphon.simulation.split import draw_split, prepare
from antiphon.strategies.methods.method import method_of

MonitorFor = Callable[[int], AbstractContextManager[Monitor]]
"""Makes the run's listener, given the number of clients."""

OnFolder = Callable[[RunFolder], None]
"""Hears of the run's folder as soon as there is one."""


@dataclass(frozen=True)
class Split:
    """The data of a run, and who holds it.

    skipped: what was wrong with the rows that were passed over; fleet: none for one without a file.
    """

    clients: tuple[ClientExamples, ...]
    labels: tuple[str, ...]
    skipped: tuple[str, ...]
    fleet: Fleet | None = None

    @cached_property
    def digest(self) -> str:
        """A hash of every client's examples, to tell whether a resumed run sees the same data."""
        return hashlib.sha256(repr(self.clients).encode(errors="surrogatepass")).hexdigest()[:16]

    @cached_property
    def fleet_digest(self) -> str | None:
        """A hash of the fleet, to tell whether a resumed run has the same one; none: without a file."""
        return self.fleet.digest if self.fleet and self.fleet.described else None


def load_split(config: RunConfig) -> Split:
    """Read the data and share it out. Raises DataError or ConfigError before any model is loaded."""
    data = config.data
    form = registry.build("format", data.format.kind, data.format.arguments)
    partition = registry.build("partition", data.partition.kind, data.partition.arguments)
    rows: Rows = load_rows(data.dataset, form, on_bad_rows=data.on_bad_rows, wanted=data.filter)
    clients = prepare(rows, partition, data, config.seed)
    names = [client.name for client in clients]
    check_cohort(config, names)
    fleet = fleet_of(config, names)
    return Split(tuple(_held(each, fleet) for each in clients), rows.labels, rows.skipped, fleet)


def _held(client: ClientExamples, fleet: Fleet) -> ClientExamples:
    """Return the part of its training examples that a client holds: at least one."""
    share = fleet.traits[client.name].data_share
    return replace(client, train=client.train[: math.ceil(share * len(client.train))])


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
    before the first round. Raises UserError for what the user can mend, ReportError
    where only the report is missing; KeyboardInterrupt passes through and leaves a run that can be resumed,
    or one that is over.
    """
    resumed = resumed_folder(config) if resume else None
    if config.engine.kind == "flower":
        # Imported here: Flower is an extra, and takes a second to import.
        from antiphon.simulation.flower_run import simulate_on_flower

        return simulate_on_flower(
            config,
            split,
            resumed=resumed,
            from_round=from_round,
            monitor_for=monitor_for,
            on_folder=on_folder,
        )
    check_deadline(config)
    space = space_of(config)
    with closing(Worker(config)) as worker:
        clients = _encoded(worker, split.clients, config.model.max_length)
        folder = resumed or new_folder(config)
        on_folder(folder)
        with Journal.writing(folder.journal_file, sync=False) as journal:
            refuse_other_data(journal, split)
            clock = VirtualClock(_last_moment(journal))
            write_tokenizer(worker.model.tokenizer, folder.tokenizer)
            federation = begin_run(
                config,
                folder,
                journal,
                space,
                clock,
                engine=config.engine.kind,
                facts=_facts(worker, clients, split),
                from_round=from_round,
            )
            if config.output.plots:
                draw_split(split.clients, folder.plots / "split.svg", split.labels)
            with monitor_for(len(clients)) as monitor:
                monitor.started(bytes_up(journal))
                _advise(monitor, config, clients)
                engine = Simulation(
                    federation,
                    worker,
                    clients,
                    clock,
                    fleet=split.fleet or fleet_of(config, clients),
                    under_way=under_way(journal.read()),
                    stopwatch=time.perf_counter,
                    monitor=monitor,
                )
                finish = engine.run()
            end_run(federation, finish, {"peak_memory_bytes": peak_memory_bytes()})
    return folder


def _encoded(
    worker: Worker, clients: Sequence[ClientExamples], max_length: int
) -> dict[str, ClientData]:
    tokenizer = worker.model.tokenizer
    return {each.name: encode_client(tokenizer, each, max_length) for each in clients}


def _advise(monitor: Monitor, config: RunConfig, clients: dict[str, ClientData]) -> None:
    batch = method_of(config).most_examples
    length = config.model.max_length
    for sentence in advice(list(clients.values()), max_length=length, batch=batch):
        monitor.advised(sentence)


def refuse_other_data(journal: Journal, split: Split) -> None:
    """Raise RunFolderError where the journal is of a run on other rows, or on another split of them."""
    for entry in journal.read(kinds=[RunDescribed]):
        event = entry.event
        facts = event.facts if isinstance(event, RunDescribed) else {}
        _refuse_other("data", facts.get("data_digest"), split.digest)
        _refuse_other("fleet file", facts.get("fleet_digest"), split.fleet_digest)


def _refuse_other(what: str, before: Plain, now: Plain) -> None:
    if before not in (None, now):
        raise RunFolderError(
            f"the {what} has changed since this run began, so it cannot go on: restore the {what}, or "
            "leave out --resume to start a new run"
        )


def _last_moment(journal: Journal) -> float:
    return max((entry.at_s for entry in journal.read()), default=0.0)


def _facts(worker: Worker, clients: dict[str, ClientData], split: Split) -> dict[str, Plain]:
    fleet = {"fleet_digest": split.fleet_digest} if split.fleet_digest else {}
    return {
        "device": str(worker.model.device),
        "precision": str(worker.model.precision).removeprefix("torch."),
        "skipped_rows": len(split.skipped),
        "data_digest": split.digest,
        **fleet,
        "cut_examples": sum(client.cut for client in clients.values()),
    }
