"""What simulated clients send is packed by threads of its own."""

import numpy as np
import pytest
from tests.strategies.served import sent as sent_delta

from antiphon.core.errors import UpdateError
from antiphon.core.run_folder import RunFolder
from antiphon.core.run_sections import CompressionConfig
from antiphon.core.types import Assignment, CodecChoice, Update
from antiphon.core.wire import as_safetensors, pack_update, update_blob
from antiphon.simulation.agenda import Agenda, Due, Given, Moment
from antiphon.simulation.packing import PackedUpdate, Packing

DELTA = {"m.lora_A.weight": np.ones((2, 3), np.float32)}


def assignment(client: str, codec: CodecChoice) -> Assignment:
    return Assignment(1, client, "lora", 1, 0, 1, 1e-3, 2, 3, codec=codec)


def update(client: str, delta=DELTA) -> Update:
    return Update(client, 1, 10, 1, sent_delta(delta), {})


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


def test_the_blob_lies_where_the_coordinator_looks_for_uploads(folder):
    """The letter is the update as a network would carry it; its tensors are already there."""
    given = update("north")

    with Packing(folder, CompressionConfig(), "run") as packing:
        letter = packing.begin(given, assignment("north", CodecChoice())).result()

    packed = pack_update(given, "run", as_safetensors)
    assert letter == PackedUpdate(packed.message, packed.size)
    assert (
        folder.upload_file("north", update_blob(letter.message).sha256).read_bytes()
        == packed.joined
    )


def test_what_no_codec_packs_is_said_to_whoever_asks_for_the_letter(folder):
    """A diverged update costs its client, not the run; others are packed."""
    broken = update("north", {"m.lora_A.weight": np.full((2, 3), np.nan, np.float32)})
    codec = CodecChoice("topk", {"fraction": 0.5})

    with Packing(folder, CompressionConfig(), "run") as packing:
        lost = packing.begin(broken, assignment("north", codec))
        kept = packing.begin(update("south"), assignment("south", codec))

        with pytest.raises(UpdateError):
            lost.result()
        assert kept.result().bytes > 0


def test_many_letters_are_all_packed(folder):
    """More than are held in memory at once: each of them is there in the end."""
    names = [f"client-{number:02}" for number in range(100)]

    with Packing(folder, CompressionConfig(), "run") as packing:
        begun = [packing.begin(update(name), assignment(name, CodecChoice())) for name in names]
        letters = [each.result() for each in begun]

    assert len({letter.message for letter in letters}) == 1
    assert len(list((folder.path / "uploads").rglob("*"))) >= 100


def test_what_was_called_off_on_its_way_is_removed(folder):
    """An update that nobody took does not stay on the disk when its client packs the next one."""
    moved = update("north", {name: tensor + 1 for name, tensor in DELTA.items()})

    with Packing(folder, CompressionConfig(), "run") as packing:
        packing.begin(update("north"), assignment("north", CodecChoice())).result()
        letter = packing.begin(moved, assignment("north", CodecChoice())).result()

    left = [path.name for path in folder.uploads("north").iterdir()]
    assert left == [folder.upload_file("north", update_blob(letter.message).sha256).name]


def test_nobody_waits_for_a_thread_before_all_of_that_moment_have_trained():
    """What is packed is due after everything else of its moment, and before whatever comes later."""
    agenda = Agenda()
    north, south = Given("north", 1, 0.0, 0), Given("south", 1, 0.0, 0)
    for given in (north, south):
        agenda.give(given)
    agenda.add(Due(1.0, "north", Moment.PACKED, north))
    agenda.add(Due(2.0, "south", Moment.DELIVERED, south))
    agenda.add(Due(1.0, "south", Moment.TRAINED, south))

    order = []
    while agenda.next_at() is not None:
        due = agenda.pop()
        order.append((due.client, due.stage))

    assert order == [
        ("south", Moment.TRAINED), ("north", Moment.PACKED), ("south", Moment.DELIVERED),
    ]  # fmt: skip
