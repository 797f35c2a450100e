"""Fleets that are recorded from a run's journal and simulated again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from antiphon.cli.fleet import record_fleet
from antiphon.core.errors import ConfigError, RunFolderError
from antiphon.core.events import (
    ClientDescribed,
    ClientJoined,
    ClientLeft,
    RoundPlanned,
    UpdateReceived,
)
from antiphon.core.journal import Entry, Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.availability import Replayed
from antiphon.simulation.fleet_file import ClientTraits, read_fleet
from antiphon.simulation.recorded_fleet import recorded
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

PERIOD = 100.0


@st.composite
def intervals(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Draw times on line within a period, rising and apart, on whole seconds."""
    edges = sorted(draw(st.sets(st.integers(0, int(PERIOD)), min_size=2, max_size=8)))
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    return [(float(start), float(end)) for start, end in pairs]


@given(online=intervals(), when=st.floats(0, 500))
def test_recorded_times_are_repeated(online: list[tuple[float, float]], when: float) -> None:
    """A client is there when the recording says so, in this period and in every later one."""
    times = Replayed(online, PERIOD)

    within = when % PERIOD
    assert times.is_on(when) == any(start <= within < end for start, end in online)


@given(online=intervals(), when=st.floats(0, 500))
def test_a_client_changes_when_it_says_it_does(
    online: list[tuple[float, float]], when: float
) -> None:
    """Between a moment and the next change it stays, and there it comes or goes."""
    times = Replayed(online, PERIOD)

    change = times.next_change(when)

    if change is None:
        assert online == [(0.0, PERIOD)]
        return
    assert change > when
    before = [times.is_on(each) for each in np.linspace(when, change, 20, endpoint=False)]
    assert set(before) == {times.is_on(when)}
    assert times.is_on(change) != times.is_on(when)


@given(
    start=st.integers(0, 900_000),
    length=st.integers(1, 99_000),
    period=st.integers(1_000_000, 1_900_000),
)
def test_time_goes_on_from_change_to_change(start: int, length: int, period: int) -> None:
    """On milliseconds, which floats round: each change is later than the last, and comes after a going."""
    online = [(start / 1000, (start + length) / 1000)]
    times, now, was = Replayed(online, period / 1000), 0.0, start == 0

    for _ in range(300):
        change = times.next_change(now)
        assert change is not None
        assert change > now
        now, was = change, not was
        assert times.is_on(now) == was


@pytest.mark.parametrize(
    "online",
    [[], [(5.0, 5.0)], [(5.0, 4.0)], [(0.0, 6.0), (6.0, 7.0)], [(0.0, PERIOD + 1)]],
)
def test_times_that_are_none_are_refused(online: list[tuple[float, float]]) -> None:
    """They rise, lie apart, and end within the period."""
    with pytest.raises(ValueError, match="online"):
        ClientTraits(step_s=1.0, online=tuple(online), period_s=PERIOD)


def test_a_fleet_with_recorded_times_counts_who_is_there() -> None:
    """A client that is there a third of the time counts as a third."""
    traits = ClientTraits(step_s=1.0, online=((0.0, 10.0), (50.0, 70.0)), period_s=90.0)

    assert traits.on_line == pytest.approx(1 / 3)


def test_a_journal_without_training_is_refused() -> None:
    """Nothing is known of how fast anybody is."""
    entries = [Entry(1, 0.0, ClientJoined("a", 10)), Entry(2, 5.0, ClientLeft("a"))]

    with pytest.raises(RunFolderError, match="no client that has trained"):
        recorded(entries)


@pytest.mark.parametrize("told", [-5, 0, 1e300, float("inf"), float("nan"), "much", True, None])
def test_what_machines_say_that_is_no_number_is_left_out(told: Any) -> None:
    """A client may say anything of itself, and of how long it took; a fleet file holds numbers."""
    facts = {"device": "tpu", "memory_bytes": told, "uplink_kbps": told, "latency_s": told}
    plan = {name: {"method": "lora", "steps": 2} for name in ("a", "b")}
    happened = [
        (0.0, ClientDescribed("a", facts)),
        (0.0, ClientJoined("a", 10)),
        (0.0, ClientJoined("b", 10)),
        (1.0, RoundPlanned(1, ("a", "b"), 2, 60.0, "", plan)),
        (5.0, UpdateReceived("a", 1, "00", 9, 10, 2, {"seconds": 3.0, "loss": 1.0})),
        (6.0, UpdateReceived("b", 1, "00", 9, 10, 2, {"seconds": 3.0, "loss": 1.0})),
    ]

    fleet = recorded(Entry(at, when, event) for at, (when, event) in enumerate(happened, 1))

    assert [(each.name, each.device) for each in fleet] == [("a", "cuda"), ("b", "cpu")]
    assert fleet[0].memory_gb is None
    assert fleet[0].step_s == pytest.approx(1.5)


@pytest.fixture(scope="module")
def fleet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet of four that differ in everything that a journal can tell."""
    file = tmp_path_factory.mktemp("fleet") / "fleet.yaml"
    file.write_text(
        """clients:
  - {name: harbour, device: cuda, memory_gb: 8, step_s: 0.5, uplink_kbps: 900, downlink_kbps: 4000}
  - {name: meadow, device: phone, step_s: 2, uplink_kbps: 300, downlink_kbps: 800, latency_s: 0.2}
  - {name: quarry, step_s: 1, availability: 0.6, mean_on_s: 8}
  - {name: summit, step_s: 1, failure_rate: 0.5}
"""
    )
    return file


def run(config: Any, fleet: Path, folder: Path) -> RunFolder:
    """Simulate some rounds on a fleet, with a quorum that those who are there can reach."""
    made = config(
        "method=fedsb", f"engine.fleet={fleet}", "rounds=12", "cohort.quorum=1", "cohort.deadline_s=60",
        "output.plots=false", "training.max_steps=3", "evaluation.every=12", f"output.runs_dir={folder}",
    )  # fmt: skip
    return simulate(made, load_split(made))


def comings(folder: RunFolder) -> list[tuple[float, str, str]]:
    """Return when who came and went, on the run's clock."""
    with Journal.reading(folder.journal_file) as journal:
        entries = list(journal.read(kinds=[ClientJoined, ClientLeft]))
    return [
        (round(entry.at_s, 2), type(entry.event).__name__, entry.event.client)
        for entry in entries
        if isinstance(entry.event, ClientJoined | ClientLeft)
    ]


@pytest.mark.slow
def test_what_a_run_has_met_is_simulated_again(
    tiny_config: Any, fleet_file: Path, tmp_path: Path
) -> None:
    """Rates, device and failures are found again, and clients come and go at the same moments."""
    first = run(tiny_config, fleet_file, tmp_path / "first")

    record_fleet(first.path, tmp_path / "recorded.yaml", Console(quiet=True))

    found = {each.name: each for each in read_fleet(tmp_path / "recorded.yaml")}
    assert found["harbour"].step_s == pytest.approx(0.5, rel=0.01)
    assert found["meadow"].uplink_kbps == pytest.approx(300, rel=0.15)
    assert (found["harbour"].device, found["harbour"].memory_gb) == ("cuda", 8.0)
    assert 0.2 < found["summit"].failure_rate < 0.8
    assert found["quarry"].online
    again = run(tiny_config, tmp_path / "recorded.yaml", tmp_path / "again")
    both = min(len(comings(first)), len(comings(again)))
    assert comings(again)[:both] == comings(first)[:both]
    assert both > 4


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    """The recording of another run stays."""
    (tmp_path / "kept.yaml").write_text("")

    with pytest.raises(ConfigError, match="exists already"):
        record_fleet(tmp_path, tmp_path / "kept.yaml", Console(quiet=True))
