"""Frames that clients have found, in a simulation: what they cost, and what an interruption does to
them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from antiphon.core.config import RunConfig
from antiphon.core.errors import RunFolderError
from antiphon.core.events import (
    BytesMoved,
    Event,
    ExchangeCombined,
    RoundFolded,
    RoundPlanned,
    UpdateReceived,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tiny_config: Any, tmp_path: Any) -> RunConfig:
    """A run of two clients whose frames are found in an exchange."""
    made: RunConfig = tiny_config(
        "method=fedsb",
        "frames=gradient",
        "training.keep_moments=true",
        "rounds=3",
        "training.max_steps=1",
        "data.partition=iid",
        "data.clients=2",
        "data.eval_examples=4",
        "output.plots=false",
        f"output.runs_dir={tmp_path / 'runs'}",
    )
    return made


def run(config: RunConfig, *, resume: bool = False) -> RunFolder:
    """Run it here."""
    return simulate(config, load_split(config), resume=resume)


def events(folder: RunFolder) -> list[Event]:
    """Return what the journal tells."""
    with Journal.reading(folder.journal_file) as journal:
        return [entry.event for entry in journal.read()]


def adapter(folder: RunFolder, number: int) -> bytes:
    """Return the adapter after a round."""
    return (folder.adapter(number) / "adapter_model.safetensors").read_bytes()


def stopped_at(config: RunConfig, kind: type[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it until an event of this kind is on the disk, and end it as Ctrl-C does."""
    append = Journal.append_many

    def append_and_stop(self: Journal, taken: Any, at_s: float) -> int:
        taken = list(taken)
        seq = append(self, taken, at_s)
        if any(isinstance(each, kind) for each in taken):
            raise KeyboardInterrupt
        return seq

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append_many", append_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run(config)


def test_they_are_asked_for_once(config: RunConfig) -> None:
    """The first round has an exchange before training, the others have none."""
    told = events(run(config))

    planned = [list(each.exchanges) for each in told if isinstance(each, RoundPlanned)]
    assert planned[0][:2] == ["gradient", "training"]
    assert all("gradient" not in each for each in planned[1:])
    assert [each.exchange for each in told if isinstance(each, ExchangeCombined)] == ["gradient"]


def test_they_go_to_each_client_once(config: RunConfig) -> None:
    """In three rounds, each of two clients receives them in the first, and they are counted."""
    told = events(run(config))

    moved = [each for each in told if isinstance(each, BytesMoved) and each.purpose == "frames"]
    assert Counter(each.client for each in moved) == {"client-00": 1, "client-01": 1}
    assert {each.round for each in moved} == {1}
    assert min(each.bytes for each in moved) > 100


@pytest.mark.parametrize("kind", [ExchangeCombined, UpdateReceived, RoundFolded])
def test_an_interruption_keeps_them(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, kind: type[Event]
) -> None:
    """Ended when they had been found and nobody had trained, or after the first update or fold, which
    leave a client's moments behind; and resumed: the same adapter to the bit.
    """
    whole = run(config.model_copy(update={"name": "whole"}))
    stopped_at(config, kind, monkeypatch)

    again = run(config, resume=True)

    combined = [each for each in events(again) if isinstance(each, ExchangeCombined)]
    assert len(combined) == 1
    assert adapter(again, 3) == adapter(whole, 3)


def test_changed_ones_are_noticed(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file in their place would make another model of the same numbers."""
    stopped_at(config, ExchangeCombined, monkeypatch)
    folder = RunFolder(Path(config.output.runs_dir) / config.name)
    file = folder.lasting_file("gradient")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    with pytest.raises(RunFolderError, match="gradient"):
        run(config, resume=True)
