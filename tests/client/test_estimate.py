"""What `antiphon check` says that a run will cost."""

from collections import Counter

import numpy as np
import pytest

from antiphon.client.estimate import estimate
from antiphon.client.shapes import space_of
from antiphon.core.events import BytesMoved
from antiphon.core.journal import Journal
from antiphon.core.types import Package
from antiphon.core.wire import pack_model
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split
from antiphon.strategies.methods.method import method_of

MIXED = ("method=mixed", "seeds.space=adapter", "mixed.seeds=[meadow]")


def test_codecs_count_in_both_directions(tiny_config):
    """A third of a bit per parameter is a hundredth of float32, and int8 a quarter."""
    plain = estimate(tiny_config())
    packed = estimate(
        tiny_config("compression.uplink={kind: ecdq, bits: 0.34}", "compression.downlink=int8")
    )

    assert plain.bytes_up == plain.bytes_down >= 4 * plain.trained_parameters
    assert packed.bytes_up < plain.bytes_up / 20
    assert plain.bytes_down / 5 < packed.bytes_down < plain.bytes_down / 3


def test_of_mixed_clients_the_larger_update_counts(tiny_config):
    """Deltas where they are the larger, scalars where there are so many steps that they are."""
    lora = estimate(tiny_config())

    deltas = estimate(tiny_config(*MIXED))
    scalars = estimate(tiny_config(*MIXED, "seeds.max_steps=100000"))

    assert deltas.bytes_up == lora.bytes_up
    assert scalars.bytes_up > lora.bytes_up


def test_all_mixed_clients_receive_the_adapter(tiny_config):
    """Those that send scalars start from the same packed factors as the others."""
    assert estimate(tiny_config(*MIXED)).bytes_down == estimate(tiny_config()).bytes_down


def test_the_numbers_are_those_of_the_space(tiny_config):
    """Where r x r numbers of each module move, no others are counted, in memory and in bytes."""
    core = estimate(tiny_config("method=fedsb", "lora.r=4"))

    modules = core.trained_parameters // 16
    assert core.trained_parameters == 16 * modules > 0
    assert core.bytes_up == core.bytes_down <= 4 * core.trained_parameters + 1024 + 200 * modules


@pytest.mark.parametrize("method", ["lora", "ffa", "fedsb"])
def test_a_model_is_no_larger_than_was_said(tiny_config, method):
    """With the names of its tensors, which outweigh small ones, and at least half of what was said."""
    config = tiny_config(f"method={method}", "lora.r=4")
    shapes = method_of(config).space.numbers(space_of(config))
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    content, _ = pack_model(Package("", zeros))

    assert estimate(config).bytes_down / 2 < len(content.joined()) <= estimate(config).bytes_down


@pytest.mark.slow
def test_frames_are_counted_once_about_as_large_as_they_are(tiny_config, tmp_path):
    """What a client sends and receives for them in a run is what was said, to a third."""
    config = tiny_config(
        "method=fedsb",
        "frames=gradient",
        "rounds=1",
        "output.plots=false",
        f"output.runs_dir={tmp_path}",
    )
    said = estimate(config)

    folder = simulate(config, load_split(config))

    moved = Counter()
    with Journal.reading(folder.journal_file) as journal:
        for event in (entry.event for entry in journal.read(kinds=[BytesMoved])):
            moved[event.client, event.direction, event.purpose] += event.bytes
    clients = {client for client, _, _ in moved}
    assert clients
    for client in clients:
        assert moved[client, "up", "exchange"] == pytest.approx(said.once_up, rel=0.34)
        assert moved[client, "down", "frames"] == pytest.approx(said.once_down, rel=0.34)


def test_seeded_frames_cost_nothing(tiny_config):
    """They follow from the run's seed."""
    said = estimate(tiny_config("method=fedsb"))

    assert (said.once_up, said.once_down) == (0, 0)


def test_changes_count_in_every_round_and_the_model_once(tiny_config):
    """At one bit a number a change is a thirtieth of the model, which goes to who comes late."""
    plain = estimate(tiny_config())

    changes = estimate(tiny_config("compression={downlink: {kind: ecdq, bits: 1}, changes: true}"))

    assert changes.bytes_down < plain.bytes_down / 20
    assert changes.once_down == plain.bytes_down
