"""Clients of one simulated run that hold the base model in unlike ways."""

import pytest
from tests.simulation.test_fleet import happened, run

from antiphon.core.errors import ConfigError
from antiphon.core.events import ClientDescribed, RoundFolded, RunDescribed, UpdateReceived
from antiphon.core.tensors import from_bytes
from antiphon.simulation.shares import load_split

pytestmark = pytest.mark.slow
TWO = ("data.partition=iid", "data.clients=2", "output.keep_updates=true", "model.device=cpu")


@pytest.fixture
def fleet_config(tiny_config, tmp_path):
    """Make a config of two clients whose bases are these."""

    def make(first, second, *overrides):
        file = tmp_path / "fleet.yaml"
        entries = [f"  - {{count: 1, step_s: 1, base: {each}}}\n" for each in (first, second)]
        file.write_text("clients:\n" + "".join(entries))
        return tiny_config(f"engine.fleet={file}", *TWO, *overrides)

    return make


def test_clients_of_unlike_bases_train_one_adapter(fleet_config):
    """Both are folded in every round; the coordinator knows who holds what; each trains on its own."""
    unlike = run(fleet_config("float32", "bfloat16"))
    alike = run(fleet_config("float32", "float32"))

    described = {each.client: each.facts["base"] for _, each in happened(unlike, ClientDescribed)}
    assert described == {"client-00": "float32", "client-01": "bfloat16"}
    assert len(happened(unlike, UpdateReceived)) == 2 * len(happened(unlike, RoundFolded)) == 4
    sent = "rounds/0001/updates/{}.safetensors"
    same = {
        name: (unlike.path / sent.format(name)).read_bytes()
        == (alike.path / sent.format(name)).read_bytes()
        for name in described
    }
    assert same == {"client-00": True, "client-01": False}
    delta = from_bytes((unlike.path / sent.format("client-01")).read_bytes())
    assert {str(each.dtype) for each in delta.values()} == {"float32"}


def test_the_report_says_which_bases_there_were(fleet_config):
    """A run's facts name all of them."""
    folder = run(fleet_config("float32", "bfloat16", "rounds=1"))

    assert [
        event.facts["base"] for _, event in happened(folder, RunDescribed) if "base" in event.facts
    ] == ["bfloat16, float32"]


def test_bases_of_a_fleet_are_not_passed_over_on_flower(fleet_config):
    """Its processes serve any client, each with one copy of the model."""
    with pytest.raises(ConfigError, match=r"client client-00: on engine flower all clients hold"):
        load_split(fleet_config("float32", "float32", "engine.kind=flower"))


def test_a_fleet_whose_base_the_method_cannot_use_is_refused(fleet_config):
    """The sentence names the client."""
    config = fleet_config("float32", "bfloat16", "method=seeds", "seeds.space=weights")

    with pytest.raises(ConfigError, match="client client-01: base bfloat16 does not give"):
        load_split(config)
