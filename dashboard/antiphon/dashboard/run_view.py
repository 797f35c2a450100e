"""All that the page of one run shows, as values that do not change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.core.events import RoundPlanned
from antiphon.core.types import Plain
from antiphon.dashboard.fleet_view import ClientView, clients_of
from antiphon.dashboard.history import History, Moments
from antiphon.dashboard.learning import (
    MOST_LINES,
    Curve,
    Spread,
    client_curves,
    means,
    same_clients,
    spreads,
)
from antiphon.dashboard.standing import state_of
from antiphon.dashboard.traffic import Moved, Sums, rows, sums_by_round, sums_of_run
from antiphon.server.report_types import Outcome, Problem
from antiphon.server.run_state import RunState
from antiphon.server.standing import Standing, standings
from antiphon.server.tally import RoundTally, integer_fact


@dataclass(frozen=True)
class RoundView:
    """One round. accepted, rejected: numbers of clients; seconds: from its plan to its end, None: open."""

    planned: RoundPlanned
    moments: Moments
    outcome: Outcome
    accepted: int
    rejected: int
    sums: Sums
    seconds: float | None
    aggregation_error: float | None


@dataclass(frozen=True)
class RunView:
    """One run as far as its journal has been read.

    state: the round machine's, for the sentence about waiting; means: loss and accuracy, mean over
    clients; curves: of each client, where they are few; spreads: where they are many; undone: rounds
    whose model was taken back; same_clients: the first and the last mean are over the same; first_at,
    last_at: seconds on the engine's clock; apart: who takes no part, and why.
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
    moved: tuple[Moved, ...]
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
    tally = history.tally
    trained = integer_fact(tally.facts, "trained_parameters")
    measured = {name for each in tally.evaluated.values() for name in each}
    names = sorted(measured | set(tally.train_examples))
    few = len(names) <= MOST_LINES
    sums = sums_by_round(history.moved, tally, trained)
    return RunView(
        run_id=tally.started.run_id if tally.started else "",
        last_seq=history.place.seq,
        state=state_of(history),
        end=tally.end,
        facts=dict(tally.facts),
        first_at=history.first_at,
        last_at=history.last_at,
        rounds={
            number: _round(each, history.moments[number], sums[number])
            for number, each in sorted(tally.rounds.items())
        },
        means=means(tally),
        curves=client_curves(tally, names) if few else (),
        spreads=() if few else spreads(tally),
        undone=tally.lineage.undone,
        same_clients=same_clients(tally),
        moved=rows(history.moved),
        sums=sums_of_run(history.moved, tally, trained),
        clients=clients_of(history),
        apart=standings(state_of(history), tally.declined),
        problems=tuple(tally.problems),
    )


def _round(each: RoundTally, moments: Moments, sums: Sums) -> RoundView:
    over_at = moments.over_at
    return RoundView(
        planned=each.planned,
        moments=moments,
        outcome=each.outcome,
        accepted=each.counts["accepted"],
        rejected=each.counts["rejected"],
        sums=sums,
        seconds=None if over_at is None else max(0.0, over_at - moments.planned_at),
        aggregation_error=each.fold.get("aggregation_error"),
    )
