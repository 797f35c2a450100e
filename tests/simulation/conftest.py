"""What a run ends with when nobody disturbs it: computed once, and compared with by many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.core.config import RunConfig, config_hash
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

Undisturbed = Callable[[RunConfig], bytes]


@pytest.fixture(scope="package")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Give the weights that a config ends with in one process, run to the end."""
    kept: dict[str, bytes] = {}

    def weights(config: RunConfig) -> bytes:
        name = config_hash(config)
        if name not in kept:
            kept[name] = _weights(config, tmp_path_factory.mktemp("undisturbed"))
        return kept[name]

    return weights


def _weights(config: RunConfig, runs_dir: Path) -> bytes:
    output = config.output.model_copy(update={"runs_dir": str(runs_dir)})
    folder = simulate(config.model_copy(update={"output": output}), load_split(config))
    return (folder.adapter(config.rounds) / "adapter_model.safetensors").read_bytes()
