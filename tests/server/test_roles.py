"""Which clients of a mixed run send seed-scalars."""

import pytest

from antiphon.strategies.methods.method import method_of


@pytest.mark.parametrize(
    ("facts", "method"),
    [({"device": "phone"}, "seeds"), ({"device": "cuda"}, "lora"), ({}, "lora")],
    ids=str,
)
def test_phones_of_a_simulated_fleet_can_send_scalars(tiny_config, facts, method):
    """The devices that fleet files know can be named, like those of real machines."""
    config = tiny_config("method=mixed", "seeds.space=adapter", "mixed.seeds_devices=[phone]")

    assert method_of(config).role_of("a", facts).name == method
