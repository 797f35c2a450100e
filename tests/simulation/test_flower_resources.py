"""What Flower's simulation is told of the machine: its backend config, caught before Ray starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from antiphon.core.config import RunConfig
from antiphon.core.errors import AntiphonError, ConfigError
from antiphon.simulation.flower import engine as flower_engine
from antiphon.simulation.flower.run import simulate_on_flower
from antiphon.simulation.shares import load_split

Backend = Callable[..., dict[str, Any]]


@pytest.fixture
def backend(tiny_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Return the backend config that Flower is given on a machine of four cores and one GPU."""

    def backend_of(*overrides: str) -> dict[str, Any]:
        config, told = (
            tiny_config("engine.kind=flower", "model.device=cpu", *overrides),
            dict[str, Any](),
        )

        def caught(server: object, client: object, **given: Any) -> None:
            told.update(given["backend_config"])
            raise SystemExit("no Ray here")

        monkeypatch.setattr(flower_engine, "run_simulation", caught)
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        with pytest.raises(AntiphonError, match="no Ray here"):
            simulate_on_flower(config, load_split(config))
        return told

    return backend_of


@pytest.mark.parametrize(
    ("overrides", "cpus", "gpus", "cores"),
    [
        ((), 1, 0.0, 4),
        (("engine.threads=2",), 2, 0.0, 4),
        (("engine.threads=3",), 3, 0.0, 3),
        (("engine.num_cpus=0.25",), 0.25, 0.0, 1),
        (("engine.num_cpus=1.5", "engine.threads=1"), 1.5, 0.0, 3),
        (("engine.num_cpus=16",), 16, 0.0, 16),
        (("engine.num_gpus=0.25",), 1, 0.25, 4),
    ],
)
def test_a_clients_share_reaches_flower(
    backend: Backend, overrides: tuple[str, ...], cpus: float, gpus: float, cores: int
) -> None:
    """num_cpus and num_gpus are each actor's; Ray has cores for as many actors as clients at most."""
    told = backend(*overrides)

    assert told["client_resources"] == {"num_cpus": cpus, "num_gpus": gpus}
    assert told["init_args"]["num_cpus"] == cores
    assert isinstance(told["init_args"]["num_cpus"], int)


@pytest.mark.parametrize("override", ["engine.num_cpus=0", "engine.num_gpus=-1"])
def test_no_share_is_refused(tiny_config: Callable[..., RunConfig], override: str) -> None:
    """A client needs a part of a core, and cannot have less than no GPU."""
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        tiny_config(override)


def test_gpus_that_are_not_there_are_refused(
    tiny_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No client could start, and Flower would end in errors of its own."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    config = tiny_config("engine.kind=flower", "engine.num_gpus=1")

    with pytest.raises(ConfigError, match="num_gpus is 1, but this machine has 0 GPUs"):
        simulate_on_flower(config, load_split(config))
