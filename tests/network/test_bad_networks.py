"""Real daemons, a real coordinator, and lines that break, stand still or lead nowhere."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from tests.network.fleet import ProcessFleet
from tests.network.history import entries_of
from tests.network.lines import factors, over_lines, run_config, until
from tests.network.proxy import Proxy, Weather

from antiphon.core.events import ClientFailed, ClientLeft, Event, RoundFolded, RoundPlanned
from antiphon.core.journal import Entry
from antiphon.core.run_folder import RunFolder

MB = 1_000_000
CUT_BUT_FAST = Weather(bytes_per_s=6 * MB, cut_every_bytes=2 * MB)
FAR_AND_FLAKY = Weather(latency_s=0.05, cut_every_bytes=100 << 14)
"""50 ms each way; one of a hundred pieces of 16 KiB is the last of its connection."""


def data(folder: Path, name: str, size: int, **told: float) -> Path:
    """Write a client's data file; its updates have about so many bytes."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"examples": 10, "factors": factors(size), **told}))
    return file


def found(folder: RunFolder, kind: type[Event]) -> list[Entry]:
    """Return the journal's entries of a kind."""
    return [entry for entry in entries_of(folder) if isinstance(entry.event, kind)]


async def upload_over_cuts(folder: Path) -> tuple[ProcessFleet, Proxy]:
    """One round of one client; return its fleet and its proxy."""
    fleet = ProcessFleet(folder, run_config(1, {"min_clients": 1, "deadline_s": 600.0}))
    files = {"ada": data(folder, "ada", 12 * MB, constant=0.001)}
    async with over_lines(fleet, files, CUT_BUT_FAST) as proxies:
        coordinator = fleet.processes["coordinator"]
        await until(lambda: coordinator.poll() is not None, 120, "end of the run")
        return fleet, proxies["ada"]


@pytest.mark.slow
def test_an_update_arrives_over_a_line_that_is_cut(tmp_path):
    """12 MB, cut every 2 MB, go up with 1.3 times their bytes at most."""
    fleet, proxy = asyncio.run(upload_over_cuts(tmp_path))

    assert len(found(fleet.run_folder, RoundFolded)) == 1
    assert proxy.cuts >= 12
    assert 12 * MB < proxy.bytes_up <= 1.3 * 12 * MB
    assert "Traceback" not in fleet.log("coordinator") + fleet.log("ada")


async def silenced(folder: Path) -> ProcessFleet:
    """Stop a daemon and cut off another in the round of three; return when both were noticed."""
    cohort = {"min_clients": 3, "quorum": 1, "deadline_s": 8.0}
    fleet = ProcessFleet(folder, run_config(1, cohort))
    files = {name: data(folder, name, MB // 4, step_s=60.0) for name in ("bea", "cleo")}
    files["ada"] = data(folder, "ada", MB // 4)
    async with over_lines(fleet, files, Weather()) as proxies:
        both = [proxies[name] for name in ("bea", "cleo")]
        await until(lambda: all(each.bytes_down > MB // 5 for each in both), 30, "model")
        fleet.processes["bea"].send_signal(signal.SIGSTOP)
        proxies["cleo"].weather = Weather(frozen=True, black_hole=True)
        await until(
            lambda: len(found(fleet.run_folder, ClientLeft)) == 2, 90, "word of the silence"
        )
        return fleet


@pytest.mark.slow
def test_silent_clients_are_noticed_and_not_waited_for(tmp_path):
    """A stopped daemon and a dead line count as gone; the round closes at its deadline without them."""
    fleet = asyncio.run(silenced(tmp_path))

    left = {entry.event.client for entry in found(fleet.run_folder, ClientLeft)}
    (planned,), (folded,) = (found(fleet.run_folder, kind) for kind in (RoundPlanned, RoundFolded))
    assert left == {"bea", "cleo"}
    assert folded.at_s - planned.at_s >= 8.0


async def folded_over(folder: Path, weather: Weather) -> tuple[RunFolder, int]:
    """Run two clients over lines of a weather; return the run and how often the lines broke."""
    await asyncio.to_thread(folder.mkdir)
    fleet = ProcessFleet(folder, run_config(4, {"min_clients": 2, "deadline_s": 600.0}))
    files = {name: data(folder, name, MB) for name in ("ada", "bea")}
    async with over_lines(fleet, files, weather) as proxies:
        coordinator = fleet.processes["coordinator"]
        await until(lambda: coordinator.poll() is not None, 90, "end of the run")
        return fleet.run_folder, sum(proxy.cuts for proxy in proxies.values())


@pytest.mark.slow
def test_a_far_and_flaky_line_does_no_harm(tmp_path):
    """Nobody fails or leaves, and the adapter is, bit for bit, that of a clear line."""
    clear, _ = asyncio.run(folded_over(tmp_path / "clear", Weather()))

    flaky, cuts = asyncio.run(folded_over(tmp_path / "flaky", FAR_AND_FLAKY))

    digests = [[entry.event.digest for entry in found(run, RoundFolded)] for run in (clear, flaky)]
    assert cuts >= 4
    assert len(digests[0]) == 4
    assert digests[0] == digests[1]
    assert found(flaky, ClientFailed) == found(flaky, ClientLeft) == []
