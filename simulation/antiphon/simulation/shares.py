"""The data of a simulated run: read, shared out, and the same when the run goes on."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property

from antiphon.client.data.clients import ClientExamples
from antiphon.client.data.rows import Rows, load_rows
from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.core.errors import ConfigError, RunFolderError
from antiphon.core.events import RunDescribed
from antiphon.core.journal import Journal
from antiphon.core.types import Plain
from antiphon.server.planning.plans import check_cohort
from antiphon.simulation.fleet import SimulatedFleet, fleet_of
from antiphon.simulation.partition import client_names
from antiphon.simulation.split import prepare
from antiphon.simulation.surrogate import checked_surrogate, invented


@dataclass(frozen=True)
class Split:
    """The data of a run, and who holds it.

    skipped: what was wrong with the rows that were passed over; fleet: none for one without a file;
    invented: the examples are nothing but their number.
    """

    clients: tuple[ClientExamples, ...]
    labels: tuple[str, ...]
    skipped: tuple[str, ...]
    fleet: SimulatedFleet | None = None
    invented: bool = False

    @cached_property
    def digest(self) -> str:
        """A hash of every client's examples, to tell whether a resumed run sees the same data."""
        counts = [(each.name, len(each.train)) for each in self.clients]
        told = counts if self.invented else self.clients
        return hashlib.sha256(repr(told).encode(errors="surrogatepass")).hexdigest()[:16]

    @cached_property
    def fleet_digest(self) -> str | None:
        """A hash of the fleet, to tell whether a resumed run has the same one; none: without a file."""
        return self.fleet.digest if self.fleet and self.fleet.described else None


def load_split(config: RunConfig) -> Split:
    """Read the data and share it out. Raises DataError or ConfigError before any model is loaded."""
    if config.engine.surrogate:
        return _invented(config)
    data = config.data
    form = registry.build("format", data.format.kind, data.format.arguments)
    partition = registry.build("partition", data.partition.kind, data.partition.arguments)
    rows: Rows = load_rows(data.dataset, form, on_bad_rows=data.on_bad_rows, wanted=data.filter)
    clients = prepare(rows, partition, data, config.seed)
    names = [client.name for client in clients]
    check_cohort(config, names)
    fleet = fleet_of(config, names)
    return Split(tuple(_held(each, fleet) for each in clients), rows.labels, rows.skipped, fleet)


def _invented(config: RunConfig) -> Split:
    """Return clients without text. Raises ConfigError where nobody says how many, or a model is needed."""
    surrogate = checked_surrogate(config)
    if config.data.clients is None:
        raise ConfigError("engine.surrogate reads no data: set data.clients, how many there are")
    names = client_names(config.data.clients)
    check_cohort(config, names)
    fleet = fleet_of(config, names)
    clients = invented(names, surrogate.examples)
    return Split(tuple(_held(each, fleet) for each in clients), (), (), fleet, invented=True)


def _held(client: ClientExamples, fleet: SimulatedFleet) -> ClientExamples:
    """Return the part of its training examples that a client holds: at least one."""
    share = fleet.traits[client.name].data_share
    return replace(client, train=client.train[: math.ceil(share * len(client.train))])


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
