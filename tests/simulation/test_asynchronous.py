"""Asynchronous rounds in the simulation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import pytest
from tests.simulation.conftest import Undisturbed

from antiphon.core.config import RunConfig
from antiphon.core.events import RoundFolded, RoundPlanned, UpdateReceived
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

ConfigMaker = Callable[..., RunConfig]


def run(config: RunConfig) -> RunFolder:
    """Simulate a run."""
    return simulate(config, load_split(config))


def final_adapter(folder: RunFolder, config: RunConfig) -> bytes:
    """Return the weights that a run ended with."""
    return (folder.adapter(config.rounds) / "adapter_model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "seeds"])
def test_without_delays_it_is_the_synchronous_run(
    tiny_config: ConfigMaker, undisturbed: Undisturbed, method: str
) -> None:
    """A buffer of all clients, who are equally fast, ends with the same adapter, bit for bit."""
    synchronous = tiny_config(f"method={method}")
    asynchronous = tiny_config(f"method={method}", "cohort.asynchronous={buffer: 4}")

    ours = run(asynchronous)

    assert final_adapter(ours, asynchronous) == undisturbed(synchronous)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "seeds"])
def test_stale_updates_are_folded(tiny_config: ConfigMaker, method: str) -> None:
    """With a buffer of half the clients, each round after the first folds work that began before it."""
    folder = run(tiny_config(f"method={method}", "rounds=3", "cohort.asynchronous={buffer: 2}"))

    with Journal.reading(folder.journal_file) as journal:
        entries = [entry.event for entry in journal.read()]
    planned = [each for each in entries if isinstance(each, RoundPlanned)]
    updates = [each for each in entries if isinstance(each, UpdateReceived)]
    assert [len(each.cohort) for each in planned] == [4, 2, 2]
    assert [each.round for each in updates] == [1, 1, 1, 1, 2, 2]
    assert sum(isinstance(each, RoundFolded) for each in entries) == 3


class Stops(Monitor):
    """Interrupts the run as Ctrl-C would, before the n-th step."""

    def __init__(self, at: int) -> None:
        """Count down from here."""
        self._left = at

    def client_stepped(self, client: str, done: int, steps: int, loss: float) -> None:
        """Count a step."""
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 6, 9])
def test_resume_ends_where_the_undisturbed_run_ends(
    tiny_config: ConfigMaker, undisturbed: Undisturbed, at: int
) -> None:
    """Work of earlier rounds goes on from the model it began with, when the run is taken up again."""
    config = tiny_config("rounds=3", "cohort.asynchronous={buffer: 2}")

    @contextmanager
    def monitor_for(clients: object):  # type: ignore[no-untyped-def]
        yield Stops(at)

    with pytest.raises(KeyboardInterrupt):
        simulate(config, load_split(config), monitor_for=monitor_for)
    resumed = simulate(config, load_split(config), resume=True)

    assert final_adapter(resumed, config) == undisturbed(config)


@pytest.mark.slow
def test_the_first_of_an_over_selected_cohort_close_the_round(tiny_config: ConfigMaker) -> None:
    """Three are asked where two are wanted, and two are folded."""
    config = tiny_config("cohort.size=2", "cohort.over_selection=1.5", "cohort.scheduler=random")

    folder = run(config)

    with Journal.reading(folder.journal_file) as journal:
        plans = [each.event for each in journal.read(kinds=[RoundPlanned])]
        updates = [each.event for each in journal.read(kinds=[UpdateReceived])]
    assert [len(each.cohort) for each in plans if isinstance(each, RoundPlanned)] == [3, 3]
    assert len(updates) == 4
