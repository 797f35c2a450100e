"""Updates that a codec has packed: received, checked, folded, and again after a restart."""

from dataclasses import replace

import numpy as np
import pytest
from tests.strategies.served import sent as sent_delta

from antiphon.client.sender import Sender
from antiphon.core.clock import VirtualClock
from antiphon.core.config import config_hash, resolved
from antiphon.core.events import RoundEvaluated, UpdateReceived, UpdateRejected
from antiphon.core.files import write_bytes
from antiphon.core.journal import Journal
from antiphon.core.run_folder import create
from antiphon.core.space import SpaceShapes
from antiphon.core.types import CodecChoice, Update
from antiphon.core.wire import unpack_model, update_blob
from antiphon.server.federation import Federation
from antiphon.server.machine.actions import Fold

CLIENTS = ("north", "south")
FACTORS = {"m.lora_A.weight": (8, 40), "m.lora_B.weight": (60, 8)}


@pytest.fixture
def make(tiny_config, tmp_path):
    """Open a federation of two clients with a codec each way; the same folder when called again."""
    up, down = "{kind: topk, fraction: 0.2}", "{kind: int8}"
    config = tiny_config(f"compression.uplink={up}", f"compression.downlink={down}", "rounds=3")
    folder = create(tmp_path, "run", resolved(config), config_hash(config))
    opened = []

    def make():
        for journal in opened:
            journal.close()
        opened.append(Journal.writing(folder.journal_file))
        space = SpaceShapes(FACTORS, {}, "tiny", 24)
        return Federation(config, folder, opened[-1], space, VirtualClock())

    yield make
    for journal in opened:
        journal.close()


def deliver(federation, client, codec=None, damage=lambda content: content):
    """Let a client send its update; return what becomes of it."""
    asked = federation.assignment(client)
    rng = np.random.default_rng(len(client))
    delta = {k: rng.normal(size=s).astype(np.float32) for k, s in FACTORS.items()}
    update = Update(client, asked.round, 10, 1, sent_delta(delta), {"loss": 2.0})
    sender = Sender(federation.folder.residuals(client) / str(codec), federation.config.compression)
    packed = sender.pack(update, replace(asked, codec=codec or asked.codec), federation.run_id)
    blob = update_blob(packed.message)
    write_bytes(federation.folder.upload_file(client, blob.sha256), damage(packed.joined))
    return federation.receive(client, packed.message)


def test_a_client_is_told_codec_and_size(federation):
    """The assignment names the codec with its arguments, and about how many bytes will come."""
    asked = federation.assignment("north")

    assert asked.codec == CodecChoice("topk", {"fraction": 0.2})
    assert 0 < asked.upload_bytes < 4 * 800
    assert asked.folded_round == 0


def test_the_model_travels_packed(federation):
    """What a client unpacks is the server's adapter, bit for bit, in a third of the bytes."""
    blob = federation.model()

    received = unpack_model(
        federation.folder.model_blob(blob.sha256), blob.encoding, federation.space.factors
    ).arrays

    assert blob.bytes < 4 * 800 / 2
    assert all(np.array_equal(received[k], federation.download().arrays[k]) for k in FACTORS)


def test_a_packed_update_is_folded(federation):
    """Both updates count, and the next assignment says which round has them."""
    for client in CLIENTS:
        federation.submit(deliver(federation, client))

    federation.submit_many(federation.perform(Fold(1, CLIENTS)))
    federation.submit(RoundEvaluated(1, {}))
    federation.submit(federation.plan(2, CLIENTS))

    assert federation.assignment("south").folded_round == 1


def test_a_restart_folds_the_same_bits(federation, make):
    """A coordinator that was killed unpacks again what it had accepted."""
    for client in CLIENTS:
        federation.submit(deliver(federation, client))
    expected = federation.fold_updates(1, CLIENTS).content
    for file in federation.folder.path.rglob("*.decoded"):
        file.write_bytes(b"torn")

    assert make().fold_updates(1, CLIENTS).content == expected


def test_another_codec_is_refused(federation):
    """Tensors in another form than the round asked for cost their sender its part."""
    event = deliver(federation, "north", CodecChoice("int8"))

    assert isinstance(event, UpdateRejected)
    assert "the round asked for topk" in event.reason


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-3], lambda content: content + b"x", lambda content: b""],
    ids=["short", "long", "empty"],
)
def test_a_stream_that_is_no_code_is_refused(federation, damage):
    """Whatever the bytes are, the round goes on."""
    event = deliver(federation, "north", damage=damage)

    assert isinstance(event, UpdateRejected)
    assert isinstance(deliver(federation, "south"), UpdateReceived)
