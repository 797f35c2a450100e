"""A round of several exchanges in the simulation, interrupted between any two events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.committed import install
from tests.plugins import installed

from antiphon.core.config import RunConfig
from antiphon.core.events import AnswerReceived, Event, ExchangeCombined
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder, newest
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

pytestmark = pytest.mark.slow

EXCHANGES = ("commit", "training", "reveal")


@pytest.fixture
def config(
    tiny_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunConfig]:
    """A run of two clients whose method has three exchanges."""
    install(tmp_path / "site")
    with installed(tmp_path / "site", monkeypatch):
        yield tiny_config(
            "method=committed",
            "rounds=1",
            "data.partition=iid",
            "data.clients=2",
            "output.plots=false",
            f"output.runs_dir={tmp_path / 'runs'}",
        )


def run(config: RunConfig, *, resume: bool = False) -> RunFolder:
    """Run it here."""
    return simulate(config, load_split(config), resume=resume)


def adapter(folder: RunFolder, config: RunConfig) -> bytes:
    """Return the bytes of the adapter after the last round."""
    return (folder.adapter(config.rounds) / "adapter_model.safetensors").read_bytes()


def kinds(folder: RunFolder) -> list[str]:
    """Return what kind of event each entry of the journal is."""
    with Journal.reading(folder.journal_file) as journal:
        return [type(entry.event).__name__ for entry in journal.read()]


def stopped(config: RunConfig, after: int) -> bool:
    """Run it until so many entries are written, then end it as Ctrl-C does; False: it was over before."""
    append, written = Journal.append_many, []

    def append_and_stop(self: Journal, events: Iterable[Event], at_s: float) -> int:
        seq = append(self, events, at_s)
        written.append(seq)
        if len(written) == after:
            raise KeyboardInterrupt
        return seq

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append_many", append_and_stop)
        try:
            run(config)
        except KeyboardInterrupt:
            return not newest(Path(config.output.runs_dir), config.name).is_complete()
    return False


def test_the_simulation_goes_through_the_list(config: RunConfig) -> None:
    """Each round, both clients answer before and after training, and each exchange is combined once."""
    folder = run(config)

    found = kinds(folder)
    assert found.count(AnswerReceived.__name__) == 2 * 2 * config.rounds
    assert found.count(ExchangeCombined.__name__) == 2 * config.rounds


def test_an_interruption_anywhere_changes_no_bit(config: RunConfig) -> None:
    """Stopped after each entry of a round of exchanges and resumed, it ends with the same adapter."""
    expected, after = adapter(run(config), config), 1

    while stopped(config, after):
        folder = run(config, resume=True)
        assert adapter(folder, config) == expected, f"stopped after {after} entries"
        after += 1

    assert after > len(EXCHANGES)
