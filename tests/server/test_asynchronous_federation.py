"""The server's side of asynchronous rounds: old models, where updates lie, what a fold counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.strategies.served import walk

from antiphon.core.clock import VirtualClock
from antiphon.core.config import config_hash, resolved
from antiphon.core.events import (
    ClientFailed,
    ClientJoined,
    RoundEvaluated,
    RoundPlanned,
    RunResumed,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import create
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Update
from antiphon.core.wire import pack_update, unpack_assignment, unpack_model
from antiphon.server.federation import Federation
from antiphon.server.machine.actions import Fold
from antiphon.server.machine.run_state import idle

CLIENTS = ("north", "south", "west")

Maker = Callable[[], Federation]


@pytest.fixture
def make(tiny_config, tmp_path: Path) -> Iterator[Maker]:
    """Open an asynchronous run by seeds, whose rate falls; the same folder when called again."""
    asynchronous = "cohort.asynchronous={buffer: 1, max_staleness: 2}"
    config = tiny_config(
        "method=seeds", "seeds.num_seeds=16", "seeds.max_steps=16", "rounds=5",
        "seeds.lr_scheduler_type=linear",
        "cohort.quorum=1", asynchronous,
    )  # fmt: skip
    folder = create(tmp_path, "run", resolved(config), config_hash(config))
    space = SpaceShapes({}, {"layer": (6, 4)}, "tiny", 24)
    opened: list[Journal] = []

    def make() -> Federation:
        for journal in opened:
            journal.close()
        opened.append(Journal.writing(folder.journal_file))
        return Federation(config, folder, opened[-1], space, VirtualClock())

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture
def federation(make: Maker) -> Federation:
    """A federation whose first round is open."""
    federation = make()
    federation.start(min_clients=3)
    for client in CLIENTS:
        federation.submit(ClientJoined(client, 10))
    federation.submit(RoundEvaluated(0, {"loss": 2.0}))
    plan(federation, 1)
    return federation


def plan(federation: Federation, number: int) -> None:
    """Open a round for all who are idle."""
    decided = federation.plan(number, idle(federation.machine))
    assert isinstance(decided, RoundPlanned)
    federation.submit(decided)


def deliver(federation: Federation, client: str, base: int) -> UpdateReceived | UpdateRejected:
    """Hand in one step of size 1 along seed 3."""
    scalars = walk(np.array([3], dtype=np.uint32), np.array([1.0], dtype=np.float32))
    update = Update(client, base, 10, 1, scalars, {"loss": 2.0})
    packed = pack_update(update, federation.run_id, pack=None)
    event = federation.receive(client, packed.message)
    federation.submit(event)
    return event


def fold(federation: Federation, number: int, *clients: str) -> None:
    """Fold a round, and evaluate it."""
    federation.submit_many(federation.perform(Fold(number, clients)))
    federation.submit(RoundEvaluated(number))


def coefficient(federation: Federation) -> float:
    """Return how far the model has moved along seed 3."""
    return float(federation.state["params/coefficients"][3])


def given_to(federation: Federation, client: str) -> tuple[int, int]:
    """Return the round of what a client is given, and how many directions its model has moved along."""
    message, _ = federation.packed_assignment(client)
    assignment, named = unpack_assignment(message, client, federation.run_id)
    model = unpack_model(federation.folder.model_blob(named.sha256), named.encoding)
    return assignment.round, len(model.arrays["index"])


def test_a_stale_update_is_discounted(federation: Federation) -> None:
    """One that began a round before its fold counts 1/√2 times, with the rate that it began with."""
    deliver(federation, "north", 1)
    fold(federation, 1, "north")
    plan(federation, 2)
    before = coefficient(federation)

    deliver(federation, "south", 1)
    fold(federation, 2, "south")

    assert coefficient(federation) - before == pytest.approx(before / np.sqrt(2))


def test_whoever_is_at_work_keeps_its_model(federation: Federation) -> None:
    """Its assignment and its model are those of the round in which it began, after any number of folds."""
    began = federation.packed_assignment("south")
    deliver(federation, "north", 1)
    fold(federation, 1, "north")
    plan(federation, 2)

    assert federation.packed_assignment("south") == began
    assert (given_to(federation, "south"), given_to(federation, "north")) == ((1, 0), (2, 1))


def test_an_old_model_is_made_again_after_a_crash(federation: Federation, make: Maker) -> None:
    """The model of a round that somebody still works on comes from the state before that round."""
    began = federation.packed_assignment("south")
    deliver(federation, "north", 1)
    fold(federation, 1, "north")
    plan(federation, 2)

    again = make()

    assert again.packed_assignment("south") == began
    assert (given_to(again, "south"), given_to(again, "north")) == ((1, 0), (2, 1))


def test_models_that_nobody_starts_from_are_removed(federation: Federation) -> None:
    """Of old models, only those are kept on which somebody still works."""
    _, first = federation.packed_assignment("south")
    for number, client in enumerate(CLIENTS, 1):
        federation.packed_assignment(client)
        deliver(federation, client, 1)
        fold(federation, number, client)
        plan(federation, number + 1)

    assert not federation.folder.model_blob(first.sha256).exists()


@pytest.mark.parametrize("crashes", [False, True])
def test_an_update_between_rounds_is_folded_by_the_next(
    federation: Federation, make: Maker, crashes: bool
) -> None:
    """What arrives while a round is folded and measured lies where the next round finds it."""
    deliver(federation, "north", 1)
    deliver(federation, "south", 1)
    fold(federation, 1, "north")
    federation = make() if crashes else federation

    plan(federation, 2)
    fold(federation, 2, "south")

    assert federation.machine.outcomes[-1].accepted == ("south",)
    assert federation.machine.folded == {"north": 1, "south": 1}


@pytest.mark.parametrize("crashes", [False, True])
def test_what_a_failed_round_accepted_is_folded_by_the_next(
    federation: Federation, make: Maker, crashes: bool
) -> None:
    """It counts once, as stale as it is by then: begun in round 1, folded by round 3."""
    deliver(federation, "north", 1)
    fold(federation, 1, "north")
    before = coefficient(federation)
    decided = federation.plan(2, idle(federation.machine))
    assert isinstance(decided, RoundPlanned)
    federation.submit(replace(decided, quorum=2, enough=2))
    deliver(federation, "south", 1)
    federation.submit(ClientFailed("west", 1, "no memory"))
    federation.submit(ClientFailed("north", 2, "no memory"))

    federation = make() if crashes else federation
    federation.submit(RunResumed())  # no pause
    plan(federation, 3)
    fold(federation, 3, "south")

    assert [each.ending for each in federation.machine.outcomes] == ["folded", "failed", "folded"]
    assert coefficient(federation) - before == pytest.approx(before / np.sqrt(3))


def test_updates_are_removed_when_nobody_works_on_their_round(federation: Federation) -> None:
    """The updates of a round stay on disk while others that began in it are still awaited."""
    folder = federation.folder.round_dir(1) / "updates"
    for number, client in enumerate(CLIENTS, 1):
        assert folder.exists() == (number > 1)
        deliver(federation, client, 1)
        fold(federation, number, client)
        if number < 3:
            plan(federation, number + 1)

    assert not folder.exists()


def test_an_update_is_held_against_the_assignment_it_began_with(federation: Federation) -> None:
    """One labelled with a round in which its client did not begin is not taken."""
    deliver(federation, "north", 1)
    fold(federation, 1, "north")
    plan(federation, 2)

    deliver(federation, "south", 2)

    assert federation.machine.cohort["south"].status == "assigned"


def test_garbage_costs_the_part_that_began_before(federation: Federation) -> None:
    """Bytes that are no update are a rejection of what their client was given, whenever that was."""
    deliver(federation, "north", 1)
    fold(federation, 1, "north")
    plan(federation, 2)

    event = federation.receive("south", b"garbage")

    assert isinstance(event, UpdateRejected)
    assert event.round == 1
