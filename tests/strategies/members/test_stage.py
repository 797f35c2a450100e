"""What all installed stages have in common."""

import numpy as np
import pytest
from tests.strategies.members.installed import cases
from tests.strategies.served import lora
from tests.strategies.served import sent as sent_delta

from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.types import Update
from antiphon.strategies.server_opt.optimizers import sgd

SHAPES = {"m.lora_A.weight": (4, 16), "m.lora_B.weight": (24, 4)}


def tensors(seed, size=1.0):
    """Random factors of one module."""
    rng = np.random.default_rng(seed)
    return {name: (size * rng.normal(size=s)).astype(np.float32) for name, s in SHAPES.items()}


UPDATES = [Update(f"c{i}", 1, 10, 5, sent_delta(tensors(i + 1, 0.2))) for i in range(3)]


@pytest.fixture(scope="module", params=cases("stage"), ids=str)
def stage(request):
    return request.param.build()


@pytest.fixture(scope="module")
def method(stage):
    """A fold with the stage in it."""
    return lora(optimizer=sgd(), between=[stage])


@pytest.fixture(scope="module")
def state(method):
    """After two rounds."""
    once = method.fold(method.init(tensors(0)), UPDATES, 0.0).state
    return method.fold(once, UPDATES, 0.0).state


def test_what_it_keeps_stands_under_its_name(stage, method, state):
    """Two stages never write over each other."""
    plain = lora(optimizer=sgd())
    others = set(plain.fold(plain.init(tensors(0)), UPDATES, 0.0).state)

    assert all(name.startswith(f"{stage.name}/") for name in set(state) - others)


def test_a_round_computed_again_has_the_same_bits(stage, method, state):
    """After a crash a fold is computed from the state's file, with the same updates."""
    first = method.fold(state, UPDATES, 0.0)
    again = method.fold(from_bytes(to_bytes(state)), reversed(UPDATES), 0.0)

    assert to_bytes(first.state) == to_bytes(again.state)
    assert first.report == again.report


def test_what_it_reports_is_a_number(stage, method, state):
    """The journal takes plain numbers, under names that no other stage uses."""
    report = method.fold(state, UPDATES, 0.0).report

    assert all(isinstance(value, float) for value in report.values())


def test_it_changes_no_shape(stage, method, state):
    """The model's tensors are what they were."""
    after = method.fold(state, UPDATES, 0.0).state

    for name, shape in SHAPES.items():
        assert after[f"params/{name}"].shape == shape
        assert after[f"params/{name}"].dtype == np.float32
