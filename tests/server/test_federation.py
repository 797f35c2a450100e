"""The server's side of a run without any engine: receiving, folding, undoing, replaying."""

import numpy as np
import pytest
from tests.server.seeds_run import CLIENTS, fold_round, sent
from tests.strategies.served import sent as sent_delta

from antiphon.core.events import ClientJoined, RoundEvaluated, UpdateReceived, UpdateRejected
from antiphon.core.files import write_bytes
from antiphon.core.types import Update
from antiphon.core.wire import pack_update, update_blob
from antiphon.server.machine.actions import Fold


def coefficient(federation):
    return float(federation.state["params/coefficients"][3])


def test_a_fold_moves_by_the_weighted_mean(federation):
    """Two clients that both report g = 1 along seed 3 move the model by −lr."""
    fold_round(federation, 1)

    assert coefficient(federation) == pytest.approx(-federation.config.seeds.learning_rate)


@pytest.mark.parametrize(
    "content",
    [b"garbage", b"", b"\xff" * 100],
    ids=["text", "nothing", "ones"],
)
def test_garbage_is_rejected_with_a_reason(federation, content):
    """Bytes that are no update cost one client its part, with a reason, and nothing else."""
    event = federation.receive("north", content)

    assert isinstance(event, UpdateRejected)
    assert event.reason


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_poisonous_scalars_are_rejected(federation, value):
    """NaN, infinity and a giant scalar never reach the fold."""
    assert isinstance(federation.receive("north", sent(federation, value=value)), UpdateRejected)


@pytest.mark.parametrize(("told", "of_one"), [((0, 10, 15), 10 / 35), ((0, 0, 0), 1 / 3)])
def test_a_client_that_hides_its_examples_weighs_as_the_usual_one(make, told, of_one):
    """It counts as much as the median of those that tell; where none does, all weigh alike."""
    names = ("hidden", "north", "south")
    federation = make()
    federation.start(min_clients=3)
    for client, examples in zip(names, told, strict=True):
        federation.submit(ClientJoined(client, examples))
    federation.submit(RoundEvaluated(0, {"loss": 2.0}))
    federation.submit(federation.plan(1, names))

    for client, examples in zip(names, told, strict=True):
        value = 1.0 if client == "hidden" else 0.0
        message = sent(federation, client, value=value, examples=examples)
        federation.submit(federation.receive(client, message))
    federation.submit_many(federation.perform(Fold(1, names)))

    assert coefficient(federation) == pytest.approx(-federation.config.seeds.learning_rate * of_one)


@pytest.mark.parametrize("examples", [0, 10**9])
def test_a_client_cannot_choose_its_weight(federation, examples):
    """An update that counts other examples than the client joined with is refused."""
    event = federation.receive("north", sent(federation, examples=examples))

    assert isinstance(event, UpdateRejected)
    assert "joined with 10" in event.reason


def test_the_wrong_kind_of_update_is_rejected(federation):
    """A LoRA delta in a round of scalars is refused."""
    update = Update("north", 1, 10, 1, sent_delta({"a": np.zeros((2, 2), dtype=np.float32)}))
    packed = pack_update(update, federation.run_id)
    write_bytes(
        federation.folder.upload_file("north", update_blob(packed.message).sha256), packed.content
    )

    event = federation.receive("north", packed.message)

    assert isinstance(event, UpdateRejected)


def test_a_second_update_does_not_replace_the_first(federation):
    """The bytes that were accepted stay on disk, whatever comes later."""
    first = sent(federation)
    federation.submit(federation.receive("north", first))

    federation.receive("north", sent(federation, value=9.0))

    assert federation.folder.update_file(1, "north").read_bytes() == first


def test_an_update_of_another_round_is_not_spooled(federation):
    """What the open round does not want is not written to disk."""
    event = federation.receive("north", sent(federation, number=2))

    assert isinstance(event, UpdateReceived)
    assert not federation.folder.update_file(2, "north").exists()


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 100.0])
def test_an_exploded_loss_undoes_the_fold(federation, loss):
    """The model is what it was before the fold, and the learning rate is halved."""
    fold_round(federation, 1)

    undone = federation.undo_if_exploded(1, loss)
    federation.submit(undone)

    plan = federation.plan(2, CLIENTS)
    rate = federation.config.seeds.learning_rate
    assert coefficient(federation) == 0.0
    assert plan.plan["north"]["learning_rate"] == pytest.approx(rate / 2)
    assert "guard" in plan.reason


def test_a_loss_near_the_best_is_no_explosion(federation):
    """The guard leaves ordinary noise alone."""
    fold_round(federation, 1)

    assert federation.undo_if_exploded(1, 2.5) is None


def test_after_an_undone_round_clients_receive_the_model_before_it(federation):
    """Not the one that was measured and broke: its file may be there from the fold."""
    before = federation.model()
    fold_round(federation, 1)
    federation.submit(federation.undo_if_exploded(1, float("nan")))

    assert federation.model() == before
    assert federation.folder.model_blob(before.sha256).is_file()


@pytest.mark.parametrize("stage", ["opened", "received", "folded", "undone", "evaluated"])
def test_replay_restores_the_model_and_the_machine(federation, make, stage):
    """Whatever was the last event, a new process has the same state as the one that died."""
    if stage == "received":
        federation.submit(federation.receive("north", sent(federation)))
    if stage in ("folded", "undone", "evaluated"):
        fold_round(federation, 1)
    if stage == "undone":
        federation.submit(federation.undo_if_exploded(1, float("nan")))
    if stage == "evaluated":
        federation.submit(RoundEvaluated(1, {"loss": 1.5}))

    again = make()

    assert again.machine == federation.machine
    assert {name: value.tolist() for name, value in again.state.items()} == {
        name: value.tolist() for name, value in federation.state.items()
    }


def test_a_changed_update_file_is_found_out(federation):
    """A spooled update that is not the accepted one ends the fold with an error."""
    for client in CLIENTS:
        federation.submit(federation.receive(client, sent(federation, client)))
    federation.folder.update_file(1, "south").write_bytes(b"other")

    with pytest.raises(Exception, match="not the update that was accepted"):
        federation.perform(Fold(1, CLIENTS))
