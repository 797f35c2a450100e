"""What a federation does with the answers to an exchange: check, keep, combine, forget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.committed import install
from tests.plugins import installed

from antiphon.core.clock import VirtualClock
from antiphon.core.config import config_hash, resolved
from antiphon.core.errors import ConfigError, RunFolderError
from antiphon.core.events import (
    AnswerReceived,
    ClientJoined,
    ExchangeCombined,
    RoundEvaluated,
    RunStopped,
    UpdateRejected,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import create
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.wire import unpack_assignment
from antiphon.server.federation import Federation
from antiphon.server.machine.actions import Combine
from antiphon.strategies.exchanges.exchange import Exchange, check_list, training

CLIENTS = ("north", "south")
SPACE = SpaceShapes({"m.lora_A.weight": (4, 6), "m.lora_B.weight": (8, 4)}, {}, "tiny", 56)


@pytest.fixture
def make(tiny_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Open the federation of a run whose method has three exchanges; the same folder when called again."""
    install(tmp_path / "site")
    with installed(tmp_path / "site", monkeypatch):
        config = tiny_config("method=committed", "lora.r=4", "output.plots=false")
        folder = create(tmp_path / "runs", "run", resolved(config), config_hash(config))
        opened: list[Journal] = []

        def make() -> Federation:
            for journal in opened:
                journal.close()
            opened.append(Journal.writing(folder.journal_file))
            return Federation(config, folder, opened[-1], SPACE, VirtualClock())

        yield make
        for journal in opened:
            journal.close()


@pytest.fixture
def federation(make: Any) -> Federation:
    """A federation whose first round asks its clients to commit to a number."""
    federation: Federation = make()
    federation.start(min_clients=2)
    for client in CLIENTS:
        federation.submit(ClientJoined(client, 10))
    federation.submit(RoundEvaluated(0))
    federation.submit(federation.plan(1, CLIENTS))
    return federation


def number(value: int) -> bytes:
    return to_bytes({"number": np.array([value], np.uint64)})


def received(federation: Federation, client: str, message: bytes, exchange: str = "commit") -> Any:
    return federation.exchanges.receive(federation.machine, client, 1, exchange, message)


def committed(federation: Federation, values: tuple[int, int] = (20, 24)) -> Combine:
    """Let both commit; return what the machine asks for then."""
    actions: tuple[Any, ...] = ()
    for client, value in zip(CLIENTS, values, strict=True):
        actions = federation.submit(received(federation, client, number(value)))
    combine = actions[-1]
    assert isinstance(combine, Combine)
    return combine


def told(federation: Federation, client: str) -> list[float]:
    message, _ = federation.packed_assignment(client)
    assignment, _ = unpack_assignment(message, client, federation.run_id)
    return list(assignment.told["mean"])


def test_an_answer_is_kept_until_it_is_combined(federation: Federation) -> None:
    """What the answers have come to goes with the next exchange, here with the assignment."""
    federation.submit_many(federation.perform(committed(federation)))

    assert [told(federation, each) for each in CLIENTS] == [[22.0], [22.0]]


def test_a_crash_before_the_answers_are_combined_loses_none(
    federation: Federation, make: Any
) -> None:
    """They are on the disk: the next process combines them to the same bytes."""
    combine = committed(federation)
    (here,) = federation.perform(combine)

    again = make()
    (there,) = again.perform(combine)

    assert isinstance(here, ExchangeCombined)
    assert here == there
    assert combine in again.start(min_clients=2)


def test_a_crash_after_it_loses_nothing_either(federation: Federation, make: Any) -> None:
    """What the answers have come to is read from its file."""
    federation.submit_many(federation.perform(committed(federation)))

    assert told(make(), "north") == [22.0]


@pytest.mark.parametrize("which", ["answer", "known"])
def test_a_changed_file_is_noticed(federation: Federation, make: Any, which: str) -> None:
    """Its hash stands in the journal."""
    combine, folder = committed(federation), federation.folder
    if which == "answer":
        folder.answer_file(1, "commit", "north").write_bytes(number(2))
        with pytest.raises(RunFolderError, match="the answer of north"):
            federation.perform(combine)
    else:
        federation.submit_many(federation.perform(combine))
        folder.known_file(1, "commit").write_bytes(number(2))
        with pytest.raises(RunFolderError, match="the exchange commit of round 1"):
            make().packed_assignment("north")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"no arrays", "not safetensors"),
        (to_bytes({"number": np.ones(2, np.uint64)}), "expected one number"),
        (bytes((1 << 20) + 1), "expected 1048576 at most"),
    ],
)
def test_what_was_not_asked_for_is_refused(
    federation: Federation, message: bytes, reason: str
) -> None:
    """The method's check and the bound on bytes come before anything is kept."""
    event = received(federation, "north", message)

    assert isinstance(event, UpdateRejected)
    assert (event.round, event.exchange) == (1, "commit")
    assert reason in event.reason
    assert not federation.folder.answers(1).exists()


@pytest.mark.parametrize("exchange", ["reveal", "training", "nothing", "../../x"])
def test_what_nobody_waits_for_is_not_kept(federation: Federation, exchange: str) -> None:
    """The machine says what becomes of it; no file is written, whatever the exchange is called."""
    event = received(federation, "north", number(2), exchange)

    assert isinstance(event, AnswerReceived)
    assert not federation.folder.answers(1).exists()


def test_a_second_answer_changes_nothing(federation: Federation) -> None:
    """The one that was accepted stays on the disk."""
    federation.submit(received(federation, "north", number(20)))

    federation.submit(received(federation, "north", number(2)))

    kept = federation.folder.answer_file(1, "commit", "north").read_bytes()
    assert from_bytes(kept)["number"] == [20]


def test_answers_are_forgotten_when_their_round_is_over(federation: Federation) -> None:
    """However it has ended."""
    committed(federation)
    assert federation.folder.answers(1).exists()

    federation.submit(RunStopped("enough"))

    assert not federation.folder.answers(1).exists()


@pytest.mark.parametrize(
    "names", [[], ["training", "training"], ["commit"], ["training", "measuring"], ["a", "a"]]
)
def test_an_impossible_list_is_refused(names: list[str]) -> None:
    """Training is in it once, and every name once."""
    commit = training()

    with pytest.raises(ConfigError, match="named once each"):
        check_list([Exchange(name, commit.check, commit.combine) for name in names])


def test_a_name_that_is_no_file_name_is_refused() -> None:
    """It is used on the disk."""
    with pytest.raises(ConfigError, match="32 at most"):
        check_list([training(), Exchange("../x", training().check, training().combine)])
