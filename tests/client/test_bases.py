"""How a client's machine holds a base: what it finds by itself, and what it cannot do then."""

from contextlib import closing
from dataclasses import replace

import pytest
import torch
from tests.plugins import installed, write_distribution

from antiphon.client.bases.base import chosen
from antiphon.client.worker import Worker
from antiphon.core.errors import ConfigError, DeviceError, UpdateError
from antiphon.core.section import Choice
from antiphon.core.types import Assignment
from antiphon.strategies.bases.base import Need

AUTO = Choice(kind="auto")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FORWARD = """
import torch
from antiphon.client.bases.stored import Stored
from antiphon.strategies.bases.base import Base, Need

def forward():
    return Base("forward", 4.0, frozenset({Need.DRAWS, Need.LOSSES}))

def on_cuda():
    return Base("on_cuda", 1.0, frozenset(Need), frozenset({"cuda"}))

def half():
    return Stored(torch.float32, lambda device: False)
"""
POINTS = """
[antiphon.base]
forward = bases_of_others:forward
on_cuda = bases_of_others:on_cuda

[antiphon.client_base]
forward = bases_of_others:half
on_cuda = bases_of_others:half
"""


@pytest.fixture
def others(tmp_path, monkeypatch):
    """Bases of somebody else: one through which no gradient passes, one for GPUs."""
    (tmp_path / "bases_of_others.py").write_text(FORWARD)
    write_distribution(tmp_path, "bases-of-others", POINTS)
    with installed(tmp_path, monkeypatch):
        yield


@pytest.mark.parametrize(
    ("wanted", "found"),
    [({Need.GRADIENTS}, "bfloat16"), ({Need.DRAWS, Need.LOSSES}, "float32"), (Need, "float32")],
)
def test_auto_finds_the_smallest_that_suits_the_run(monkeypatch, wanted, found):
    """On a GPU with bfloat16 units: half the memory where gradients are all that is asked."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)

    held, _ = chosen(AUTO, CUDA, frozenset(wanted))

    assert held.kind == found


def test_auto_takes_nothing_that_is_slower(monkeypatch):
    """On a CPU without matrix units for bfloat16, float32 is as fast."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)

    held, _ = chosen(AUTO, CPU, frozenset({Need.GRADIENTS}))

    assert held.kind == "float32"


def test_auto_takes_no_base_that_only_somebody_who_asks_for_it_wants(others):
    """One that gains nowhere is there for who names it, however small it is."""
    held, _ = chosen(AUTO, CUDA, frozenset(Need))

    assert held.kind == "float32"


def test_auto_says_what_no_base_gives(monkeypatch):
    """The error names the needs and the device."""
    monkeypatch.setattr("antiphon.core.registry.members", lambda kind: [])

    with pytest.raises(ConfigError, match="fits cpu gives gradients that pass through it"):
        chosen(AUTO, CPU, frozenset({Need.GRADIENTS}))


def test_a_base_for_another_device_is_refused(others):
    """It says where it can be held."""
    with pytest.raises(DeviceError, match=r"on_cuda can be held on cuda, but this .* on cpu"):
        chosen(Choice(kind="on_cuda"), CPU, frozenset())


def test_a_worker_does_not_take_a_role_that_its_base_does_not_allow(others, tiny_config):
    """In a mixed run it can send scalars; an assignment to follow gradients is refused."""
    mixed = ("method=mixed", "seeds.space=adapter", "mixed.seeds=[meadow]")
    config = tiny_config(*mixed, "model.base=forward", "model.device=cpu")
    scalars = Assignment(1, "meadow", "seeds", 1, 0, 1, 1e-3, 8, 3)

    with closing(Worker(config)) as worker:
        assert [each.name for each in worker.roles] == ["seeds"]
        with pytest.raises(UpdateError, match="base forward does not give gradients"):
            worker.train(replace(scalars, method="lora"), {}, None, lambda done, loss: None)
