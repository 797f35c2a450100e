"""What the halves of every installed trainer that need no model have in common."""

import math

import pytest
from tests.strategies.members.installed import CONFIG, cases

from antiphon.core import registry


@pytest.fixture(scope="module", params=cases("trainer"), ids=str)
def trainer(request):
    return request.param.build()


def test_a_trainer_has_a_half_at_the_client(trainer):
    """Where a coordinator can ask for it, a client can do it."""
    half = registry.build(registry.HALVES["trainer"], trainer.kind, {}, {"config": CONFIG})

    assert callable(half.train)


def test_a_step_is_work(trainer):
    """It takes a step at least, and each step an example at least."""
    assert min(trainer.steps, trainer.batch, trainer.accumulation) >= 1
    assert trainer.examples_per_step == trainer.batch * trainer.accumulation


def test_every_round_has_a_learning_rate(trainer):
    """It is finite and above nothing, also in the last round of a schedule that falls."""
    rates = [trainer.learning_rate(number) for number in range(1, CONFIG.rounds + 1)]

    assert all(math.isfinite(rate) and rate > 0 for rate in rates)


def test_its_keys_are_a_section_of_the_config(trainer):
    """Reports and advice name the keys that decide it."""
    assert trainer.section == "" or trainer.section in type(CONFIG).model_fields
