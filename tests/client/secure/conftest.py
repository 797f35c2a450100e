"""A cohort of the tiny model's factors, for secure sums by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.secure.cohort import Cohort

from antiphon.core.config import RunConfig
from antiphon.core.space import SpaceShapes
from antiphon.strategies.methods.method import method_of

FACTORS = {"m.lora_A.weight": (4, 6), "m.lora_B.weight": (8, 4)}
SHAPES = SpaceShapes(FACTORS, {}, "tiny", 48)

Gather = Callable[..., Cohort]


@pytest.fixture
def config(tiny_config: Any) -> RunConfig:
    """A run of lora_b whose updates are summed under masks."""
    made: RunConfig = tiny_config("method=ffa", "lora.r=4", "privacy.secure_aggregation.reach=1.0")
    return made


@pytest.fixture
def gather(config: RunConfig, tmp_path: Path) -> Gather:
    """Make a cohort: gather(5, seed=1) has five clients, whose deltas follow from the seed."""

    def make(size: int, seed: int = 0, folder: str = "kept", **changes: Any) -> Cohort:
        rng = np.random.Generator(np.random.Philox(seed))
        numbers = method_of(config).space.numbers(SHAPES)
        deltas = {
            f"client-{index:03d}": {
                name: rng.uniform(-0.9, 0.9, shape).astype(np.float32)
                for name, shape in numbers.items()
            }
            for index in range(size)
        }
        return Cohort(config, tmp_path / folder, deltas, SHAPES, **changes)

    return make
