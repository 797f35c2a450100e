"""What the halves of every installed form that need no model have in common."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies.members.installed import CONFIG, cases

from antiphon.core import registry

DENSE = registry.build("codec", "float32", {})
numbers, steps = st.integers(1, 10**9), st.integers(1, 10**4)


@pytest.fixture(scope="module", params=cases("form"), ids=str)
def form(request):
    return request.param.build()


def test_a_form_has_a_half_at_the_client(form):
    """Where a coordinator can ask for it, a client can send it."""
    half = registry.build(registry.HALVES["form"], form.kind, {}, {"config": CONFIG})

    assert callable(half.package)


def test_a_walk_is_not_packed(form):
    """Codecs pack tensors; seeds and scalars travel as they are."""
    assert not (form.walks and form.packs)


@given(numbers=numbers, steps=steps)
def test_more_work_is_never_said_to_be_less_to_send(form, numbers, steps):
    """A budget of bytes that holds for a round holds for a smaller one."""
    size = form.size(numbers, DENSE, steps)

    assert 0 < size <= form.size(numbers + 1, DENSE, steps)
    assert size <= form.size(numbers, DENSE, steps + 1)


@given(numbers=numbers, steps=steps)
def test_only_what_is_packed_needs_a_codec(form, numbers, steps):
    """Of a form that packs nothing, the size is known without one."""
    if not form.packs:
        assert form.size(numbers, None, steps) == form.size(numbers, DENSE, steps)
