"""What a base lets the clients of a run do, and with which sentence the rest is refused."""

import pytest
from tests.plugins import installed, write_distribution

from antiphon.core.errors import ConfigError
from antiphon.strategies.bases.base import Need, giving, known_base
from antiphon.strategies.methods.method import method_of

MIXED = ("method=mixed", "seeds.space=adapter", "mixed.seeds=[north]")
FORWARD = """
from antiphon.strategies.bases.base import Base, Need

def forward():
    return Base("forward", 0.5, frozenset({Need.DRAWS, Need.LOSSES}))
"""


@pytest.fixture
def forward(tmp_path, monkeypatch):
    """A base through which no gradient passes, installed by somebody else."""
    (tmp_path / "only_forward.py").write_text(FORWARD)
    points = "[antiphon.base]\nforward = only_forward:forward\n"
    write_distribution(tmp_path, "only-forward", points)
    with installed(tmp_path, monkeypatch):
        yield known_base("forward")


@pytest.mark.parametrize(
    ("base", "role"), [("forward", "seeds"), ("float32", "lora"), (None, "lora")]
)
def test_a_client_has_a_role_that_its_base_allows(forward, tiny_config, base, role):
    """Who can follow no gradient sends scalars in a mixed run, whoever it is."""
    method = method_of(tiny_config(*MIXED))

    assert method.role_of("south", {"base": base}).name == role


def test_of_a_base_that_only_the_client_has_nothing_is_known(tiny_config):
    """Then the role is the usual one, and the client says whether it can."""
    assert known_base("of somebody else") is None
    assert method_of(tiny_config(*MIXED)).role_of("south", {"base": "else"}).name == "lora"


def test_a_base_that_the_method_cannot_use_is_refused(forward, tiny_config):
    """The sentence says what is missing, who needs it, and what gives it."""
    sentence = (
        "base forward does not give gradients that pass through it, which trainer adamw needs: "
        "use bfloat16, float32"
    )

    with pytest.raises(ConfigError, match=sentence):
        method_of(tiny_config()).check_base(forward)


def test_weights_that_move_need_a_base_that_keeps_small_steps(tiny_config):
    """A config that names another one is refused before anything is loaded."""
    sentence = "base bfloat16 does not give weights that keep small steps, which space span needs"

    with pytest.raises(ConfigError, match=sentence):
        tiny_config("method=seeds", "seeds.space=weights", "model.base=bfloat16")


def test_seeds_on_an_adapter_go_with_any_base_of_draws(tiny_config):
    """It is not what `auto` finds, but it is allowed: the factors keep small steps themselves."""
    config = tiny_config("method=seeds", "seeds.space=adapter", "model.base=bfloat16")

    assert config.model.base.kind not in giving(method_of(config).wants)
    assert Need.LOSSES in method_of(config).wants


def test_what_older_versions_called_precision_is_read(tiny_values):
    """The config of a run of version 0.3 says the same."""
    from antiphon.core.config import validate

    values = {**tiny_values, "model": {**tiny_values["model"], "precision": "bfloat16"}}

    assert validate(values).model.base.kind == "bfloat16"
