"""What the halves of every installed space that need no model have in common."""

import numpy as np
import pytest
from tests.strategies.members.installed import CONFIG, cases

from antiphon.core import registry
from antiphon.core.space import SpaceShapes
from antiphon.core.wire import pack_model
from antiphon.strategies.methods.method import chain
from antiphon.strategies.methods.ranks import Ranks
from antiphon.strategies.methods.served import Served

R = CONFIG.lora.r
FACTORS = {"m.lora_A.weight": (R, 40), "m.lora_B.weight": (24, R)}
SHAPES = {
    False: SpaceShapes(FACTORS, {}, "base", 9_000),
    True: SpaceShapes({}, {"m": (24, 40)}, "base", 9_000),
}
DENSE = registry.build("codec", "float32", {})
_ENVELOPE = 400  # of names, shapes and a message


@pytest.fixture(scope="module", params=cases("space"), ids=str)
def space(request):
    return request.param.build()


@pytest.fixture(scope="module")
def first(space):
    """The point before the first round, as a client of the full rank receives it."""
    return begun(space)


def begun(space):
    """Return what a client receives before the first round."""
    shapes = SHAPES[space.trains_weights]
    chained = chain(space, (), registry.build("server_opt", "sgd", {}))
    return Served(space, {}, chained, Ranks(R)).download(chained.init(space.initial(shapes)), R)


def test_a_space_has_a_half_at_the_client(space):
    """Where a coordinator keeps its numbers, a client can put them into a model."""
    assert callable(registry.factory(registry.HALVES["space"], space.kind))


def test_what_a_client_receives_is_as_large_as_is_said(space, first):
    """Budgets and disks are held to the bound."""
    trained = space.numbers(SHAPES[space.trains_weights])
    numbers = sum(rows * columns for rows, columns in trained.values())

    content, _ = pack_model(first)

    assert content.size <= space.size(numbers, DENSE) + _ENVELOPE


def test_only_coefficients_are_of_seeds(space, first):
    """Who receives no matrices knows how many candidate seeds there are."""
    are_vectors = all(each.ndim == 1 for each in first.arrays.values())

    assert are_vectors == (space.num_seeds is not None)


def test_the_first_point_is_the_same_every_time(space, first):
    """It follows from the config and the shapes alone."""
    assert pack_model(begun(space))[0].joined() == pack_model(first)[0].joined()


def test_the_first_point_can_be_exported(space, first):
    """PEFT's factors of every module, finite."""
    factors, scale = space.export(SHAPES[space.trains_weights], first)

    assert scale > 0
    assert {name.rsplit(".lora_", 1)[1][0] for name in factors} == {"A", "B"}
    assert all(np.isfinite(each).all() for each in factors.values())


def test_a_model_that_nobody_has_moved_is_the_base(space, first):
    """The product of the first point's factors is zero: round 0 measures the base model."""
    factors, _ = space.export(SHAPES[space.trains_weights], first)

    for name, a in factors.items():
        if name.endswith(".lora_A.weight"):
            assert not (factors[name.replace("lora_A", "lora_B")] @ a).any()
