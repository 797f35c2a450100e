"""All that the page of one run shows, as values that do not change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.core.events import RoundPlanned
from antiphon.core.types import Plain
from antiphon.dashboard.fleet_view import ClientView, clients_of
from antiphon.dashboard.gantt import Members
from antiphon.dashboard.history import History
from antiphon.dashboard.learning import (
    MOST_LINES,
    Curve,
    Spread,
    client_curves,
    means,
    same_clients,
    spreads,
)
from antiphon.dashboard.traffic import Sums, TrafficRow, rows, sums_by_round, sums_of_run
from antiphon.server.machine.run_state import RunState
from antiphon.server.machine.standing import Standing, standings
from antiphon.server.report.chronicle import Chronicle, RoundRecord
from antiphon.server.report.observed import integer_fact
from antiphon.server.report.report_types import Problem, RoundOutcome


@dataclass(frozen=True)
class RoundView:
    """One round. accepted, rejected: numbers of clients; seconds: from its plan to its end, None: open.

    first_seq, last_seq: its entries in the journal; planned_at, closed_at: absolute seconds; members: its
    cohort when it was planned.
    """

    planned: RoundPlanned
    first_seq: int
    last_seq: int
    planned_at: float
    closed_at: float | None
    members: Members
    outcome: RoundOutcome
    accepted: int
    rejected: int
    sums: Sums
    seconds: float | None
    fold: Mapping[str, float]
    held_back: tuple[str, ...]


@dataclass(frozen=True)
class RunView:
    """One run as far as its journal has been read.

    state: the round machine's; means: loss and accuracy, mean over clients; curves: of each client, where
    they are few; spreads: where they are many; undone: rounds whose model was taken back; same_clients: the
    first and the last mean are over the same; first_at, last_at: seconds on the engine's clock; by_client:
    bytes by client and direction; apart: who takes no part, and why.
    """

    run_id: str
    last_seq: int
    state: RunState
    end: tuple[bool, str] | None
    facts: Mapping[str, Plain]
    first_at: float | None
    last_at: float | None
    rounds: Mapping[int, RoundView]
    means: tuple[Curve, ...]
    curves: tuple[Curve, ...]
    spreads: tuple[Spread, ...]
    undone: frozenset[int]
    same_clients: bool
    moved: tuple[TrafficRow, ...]
    by_client: Mapping[tuple[str, str], int]
    sums: Sums
    clients: tuple[ClientView, ...]
    apart: tuple[Standing, ...]
    problems: tuple[Problem, ...]

    @property
    def is_simulated(self) -> bool:
        """Whether the engine's clock is virtual: its times are no moments of a day."""
        return self.facts.get("engine") == "simulation"


def view_of(history: History) -> RunView:
    """Return what a history shows."""
    run, observed = history.chronicle, history.chronicle.observed
    trained = integer_fact(observed.facts, "trained_parameters")
    measured = {name for each in observed.evaluated.values() for name in each}
    names = sorted(measured | set(run.machine.clients))
    few = len(names) <= MOST_LINES
    sums = sums_by_round(run, trained)
    return RunView(
        run_id=run.machine.run.run_id,
        last_seq=history.place.seq,
        state=run.machine,
        end=run.end,
        facts=dict(observed.facts),
        first_at=history.first_at,
        last_at=history.last_at,
        rounds={number: _round(run, each, sums[number]) for number, each in run.rounds.items()},
        means=means(run),
        curves=client_curves(run, names) if few else (),
        spreads=() if few else spreads(run),
        undone=run.lineage.undone,
        same_clients=same_clients(run),
        moved=rows(observed.moved),
        by_client=dict(observed.by_client),
        sums=sums_of_run(run, trained),
        clients=clients_of(history),
        apart=standings(run.machine, run.declines.reasons),
        problems=tuple(run.problems),
    )


def _round(run: Chronicle, each: RoundRecord, sums: Sums) -> RoundView:
    over_at, slots = each.over_at, each.members
    began = {slot.base: run.rounds.get(slot.base, each).planned_at for slot in slots.values()}
    return RoundView(
        planned=each.planned,
        first_seq=each.first_seq,
        last_seq=run.last_seq(each.planned.round),
        planned_at=each.planned_at,
        closed_at=each.closed_at,
        members=Members(
            base={name: slot.base for name, slot in slots.items()},
            began_at={name: began[slot.base] for name, slot in slots.items()},
            status={name: slot.status for name, slot in slots.items()},
        ),
        outcome=each.outcome,
        accepted=len(each.accepted),
        rejected=len(each.rejected),
        sums=sums,
        seconds=None if over_at is None else max(0.0, over_at - each.planned_at),
        fold=each.fold,
        held_back=each.held_back,
    )
