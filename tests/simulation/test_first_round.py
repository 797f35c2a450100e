"""What `antiphon check` expects of the first round is what the run then plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.core.events import RoundPlanned
from antiphon.core.journal import Journal
from antiphon.simulation.first_round import first_round
from antiphon.simulation.fleet import fleet_of
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split
from antiphon.simulation.surrogate import stood_for

FLEET = """
clients:
  - {name: "client-0*", step_s: 2.0, uplink_kbps: 1000, availability: 0.8, mean_on_s: 300}
"""


@pytest.fixture
def config(tiny_config: Any, tmp_path: Path) -> Any:
    """Return a config of a run without a model on such a fleet, with overrides."""
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET)
    return lambda *overrides: tiny_config(
        "method=fedsb", "engine.surrogate={}", "data.clients=8", "rounds=1", "seed=3",
        "output.plots=false", f"output.runs_dir={tmp_path / 'runs'}", f"engine.fleet={fleet}",
        "cohort={scheduler: random, size: 4, quorum: 1}", *overrides,
    )  # fmt: skip


def expected(config: Any) -> Any:
    """Return the first round of a run, and the run's split."""
    split = load_split(config)
    clients = {each.name: stood_for(each) for each in split.clients}
    return first_round(config, clients, split.fleet or fleet_of(config, list(clients))), split


@pytest.mark.parametrize("policy", ["fixed", "{kind: swift}", "{kind: adaptive, bytes: 900_000}"])
@pytest.mark.parametrize("needed", [2, 6])
def test_the_run_plans_what_was_expected(config: Any, policy: str, needed: int) -> None:
    """Members, their work, the deadline, the reason and the moment are those of the run."""
    chosen = config(f"policy={policy}", f"cohort.min_clients={needed}")
    first, split = expected(chosen)

    folder = simulate(chosen, split)

    with Journal.reading(folder.journal_file) as journal:
        entry = next(iter(journal.read(kinds=[RoundPlanned])))
    assert isinstance(first.plan, RoundPlanned)
    assert (entry.event.cohort, entry.event.plan) == (first.plan.cohort, first.plan.plan)
    assert (entry.event.deadline_s, entry.event.reason) == (
        first.plan.deadline_s,
        first.plan.reason,
    )
    assert entry.at_s == pytest.approx(first.at_s)


def test_a_round_is_looked_for_until_enough_are_there(config: Any, tmp_path: Path) -> None:
    """Where nobody is there at the start, the plan is that of the moment at which they come."""
    chosen = config("cohort.min_clients=6")
    (tmp_path / "fleet.yaml").write_text(
        'clients: [{name: "*", step_s: 1.0, online: [[10, 100]], period_s: 100}]'
    )

    first, _ = expected(chosen)

    assert (first.at_s, first.here) == (10.0, 8)
