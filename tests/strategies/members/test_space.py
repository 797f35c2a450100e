"""What the halves of every installed space that need no model have in common."""

import pytest
from tests.strategies.members.installed import CONFIG, cases

from antiphon.core import registry
from antiphon.core.wire import pack_model
from antiphon.strategies.initial_factors import initial_factors

R = CONFIG.lora.r
SHAPES = {"m.lora_A.weight": (R, 40), "m.lora_B.weight": (24, R)}
NUMBERS = sum(rows * columns for rows, columns in SHAPES.values())
DENSE = registry.build("codec", "float32", {})
_ENVELOPE = 400  # of names, shapes and a message


@pytest.fixture(scope="module", params=cases("space"), ids=str)
def space(request):
    return request.param.build()


@pytest.fixture(scope="module")
def first(space):
    """The point before the first round, as a client of the full rank receives it."""
    served = space.serve(False)
    return served.download(served.init(initial_factors(SHAPES, 3)), R)


def test_a_space_has_a_half_at_the_client(space):
    """Where a coordinator keeps its numbers, a client can put them into a model."""
    assert callable(registry.factory(registry.HALVES["space"], space.kind))


def test_what_a_client_receives_is_as_large_as_is_said(space, first):
    """Budgets and disks are held to the bound."""
    content, _ = pack_model(first)

    assert content.size <= space.size(NUMBERS, DENSE) + _ENVELOPE


def test_only_coefficients_are_of_seeds(space, first):
    """Who receives no tensors knows how many candidate seeds there are."""
    assert hasattr(first, "num_seeds") == (space.num_seeds is not None)


def test_the_first_point_is_the_same_every_time(space, first):
    """It follows from the config and the shapes alone."""
    served = space.serve(False)

    again = served.download(served.init(initial_factors(SHAPES, 3)), R)

    assert pack_model(again)[0].joined() == pack_model(first)[0].joined()
