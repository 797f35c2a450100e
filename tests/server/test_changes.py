"""The model as the change since the one that a client has: what the coordinator names, keeps and counts."""

from dataclasses import replace

import numpy as np
import pytest
from tests.strategies.served import sent as sent_delta

from antiphon.client.rebuilding import rebuilt
from antiphon.client.sender import Sender
from antiphon.client.trainer_protocol import Rebuild
from antiphon.core.blob import ModelChange
from antiphon.core.clock import VirtualClock
from antiphon.core.config import config_hash, resolved
from antiphon.core.errors import UpdateError
from antiphon.core.events import BytesMoved, ClientJoined, RoundEvaluated, RunRewound
from antiphon.core.files import sha256_of, write_bytes
from antiphon.core.journal import Journal
from antiphon.core.run_folder import create
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Update
from antiphon.core.wire import unpack_assignment, update_blob
from antiphon.server.federation import Federation
from antiphon.server.folding.held_models import HeldModels
from antiphon.server.machine.actions import Fold
from antiphon.server.planning.costs import costs_of

CLIENTS = ("north", "south")
MODULES = ("m", "n")
FACTORS = {
    f"{module}.lora_{side}.weight": shape
    for module in MODULES
    for side, shape in (("A", (8, 90)), ("B", (70, 8)))
}
SPACE = SpaceShapes(FACTORS, {}, "tiny", 24)


@pytest.fixture
def config(tiny_config):
    """Changes at two bits a number; north has half the rank."""
    return tiny_config(
        "compression={downlink: {kind: ecdq, bits: 2}, changes: true}",
        "lora={r: 8, client_ranks: {north: 4}}",
        "rounds=5",
    )


@pytest.fixture
def make(config, tmp_path):
    """Open a federation of two clients; the same folder when called again."""
    folder = create(tmp_path, "run", resolved(config), config_hash(config))
    opened = []

    def make():
        for journal in opened:
            journal.close()
        opened.append(Journal.writing(folder.journal_file))
        return Federation(config, folder, opened[-1], SPACE, VirtualClock())

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture
def federation(make):
    """A federation whose first round is open."""
    federation = make()
    federation.start(min_clients=2)
    for client in CLIENTS:
        federation.submit(ClientJoined(client, 10))
    federation.submit(RoundEvaluated(0, {"loss": 2.0}))
    federation.submit(federation.plan(1, CLIENTS))
    return federation


def fold(federation, number):
    """Let both clients send an update, fold it, and open the next round."""
    for client in CLIENTS:
        asked = federation.assignment(client)
        shapes = {k: (asked.r, s[1]) if s[0] == 8 else (s[0], asked.r) for k, s in FACTORS.items()}
        rng = np.random.default_rng(number)
        delta = {k: (0.01 * rng.normal(size=s)).astype(np.float32) for k, s in shapes.items()}
        update = Update(client, asked.round, 10, 1, sent_delta(delta), {"loss": 2.0})
        sender = Sender(federation.folder.residuals(client), federation.config.compression)
        packed = sender.pack(update, replace(asked), federation.run_id)
        blob = update_blob(packed.message)
        write_bytes(federation.folder.upload_file(client, blob.sha256), packed.joined)
        federation.submit(federation.receive(client, packed.message))
    federation.submit_many(federation.perform(Fold(number, CLIENTS)))
    federation.submit(RoundEvaluated(number, {}))
    federation.submit(federation.plan(number + 1, CLIENTS))


def told(federation, client):
    """What an assignment says: its model, and the other way to it."""
    message, _ = federation.packed_assignment(client)
    assignment, model = unpack_assignment(message, client, federation.run_id)
    return model, assignment.change


def moved(federation, client, number):
    """Let a client have received the model of its round."""
    federation.submit(BytesMoved(number, client, "down", "model", 100))


def test_the_untouched_model_is_named_as_such(federation, tmp_path):
    """A client writes the same file itself, bit for bit, from the seed."""
    model, change = told(federation, "south")

    made = rebuilt(Rebuild(str(tmp_path)), federation.config, SPACE)

    assert change == ModelChange()
    assert sha256_of(tmp_path / "model") == model.sha256
    assert made.model == str(tmp_path / "model")


def test_who_has_the_model_before_makes_the_new_one(federation, tmp_path):
    """From its file and the change alone, round after round: the file that the coordinator has."""
    held = tmp_path / "held"
    before, _ = told(federation, "south")
    held.write_bytes(federation.folder.model_blob(before.sha256).read_bytes())

    for number in (1, 2, 3):
        fold(federation, number)
        model, change = told(federation, "south")
        coded = federation.folder.model_blob(change.blob.sha256)
        rebuilt(Rebuild(str(tmp_path), str(held), str(coded)), federation.config, SPACE)

        assert change.since == before.sha256
        assert sha256_of(tmp_path / "model") == model.sha256
        assert change.blob.bytes < model.bytes / 8
        (tmp_path / "model").replace(held)
        before = model


def test_who_measures_is_told_the_same(federation):
    """The change of the newest model is that of the next assignment."""
    fold(federation, 1)

    assert federation.global_model.change() == told(federation, "south")[1]


def test_a_smaller_rank_receives_the_model_alone(federation):
    """What is packed is of the full rank."""
    assert told(federation, "north")[1] is None
    fold(federation, 1)

    assert told(federation, "north")[1] is None


def test_a_restart_names_the_same_change(federation, make):
    """Its file is there again."""
    fold(federation, 1)
    fold(federation, 2)
    before = told(federation, "south")

    again = make()

    assert told(again, "south") == before
    assert sha256_of(again.folder.model_blob(before[1].blob.sha256)) == before[1].blob.sha256


def test_old_changes_are_removed(federation):
    """As old models are."""
    fold(federation, 1)
    _, first = told(federation, "south")

    fold(federation, 2)
    fold(federation, 3)

    assert not federation.folder.model_blob(first.blob.sha256).exists()


def test_a_client_fetches_what_it_needs(federation):
    """Nothing before round 1, then the change, the whole model where it has missed a round, and no model
    twice."""
    counted = federation.global_model.bytes_to
    first = counted("south", 1, 8)
    moved(federation, "south", 1)
    fold(federation, 1)
    model, change = told(federation, "south")
    second, late = counted("south", 2, 8), counted("west", 2, 8)
    moved(federation, "south", 2)
    again = counted("south", 2, 8)
    fold(federation, 2)
    fold(federation, 3)
    missed = counted("south", 4, 8)

    assert first == again == 0
    assert (second, late) == (change.blob.bytes, model.bytes)
    assert missed == told(federation, "south")[0].bytes


def test_a_restart_remembers_what_clients_have(federation, make):
    """The journal has it."""
    fold(federation, 1)
    moved(federation, "south", 2)
    fold(federation, 2)
    expected = federation.global_model.bytes_to("south", 3, 8)

    assert make().global_model.bytes_to("south", 3, 8) == expected
    assert expected == told(federation, "south")[1].blob.bytes


def test_after_a_rewinding_later_models_are_forgotten():
    """What a round after it began with is not known any more."""
    held = HeldModels()
    for client, number in (("north", 2), ("south", 3)):
        held.hear(BytesMoved(number, client, "down", "model", 1))

    held.hear(RunRewound(1, "damaged"))

    assert (held.round_of("north"), held.round_of("south")) == (2, None)


def test_other_files_make_no_model(federation, tmp_path):
    """A model of other shapes is refused, whatever its hash."""
    fold(federation, 1)
    _, change = told(federation, "south")
    other = SpaceShapes({"m.lora_A.weight": (8, 90), "m.lora_B.weight": (70, 8)}, {}, "tiny", 1)
    rebuilt(Rebuild(str(tmp_path)), federation.config, other)
    coded = federation.folder.model_blob(change.blob.sha256)

    with pytest.raises(UpdateError, match="other shapes"):
        rebuilt(
            Rebuild(str(tmp_path), str(tmp_path / "model"), str(coded)), federation.config, SPACE
        )


def test_the_bound_of_a_round_is_that_of_the_whole_model(federation, config):
    """Anybody may need it: a budget counts with that."""
    costs = costs_of(config, SPACE, 1, CLIENTS, simulated=False)
    fold(federation, 1)
    model, _ = told(federation, "south")

    assert costs.down("south") >= model.bytes
    assert costs.evaluation >= 2 * model.bytes
