"""What `antiphon check` says that a run will cost."""

import numpy as np
import pytest

from antiphon.client.estimate import estimate
from antiphon.client.shapes import space_of
from antiphon.core.types import Package
from antiphon.core.wire import pack_model
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
