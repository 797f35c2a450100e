"""What coefficients stand for, in numpy, against the directions added one by one."""

import numpy as np
import pytest

from antiphon.core import directions
from antiphon.core.coefficients import SeedCoefficients
from antiphon.strategies.seed_space import Directions, as_lora, moved, total

SHAPE = (12, 9)


def coefficients(count, seeds=64):
    rng = np.random.default_rng(0)
    index = np.sort(rng.choice(seeds, count, replace=False)).astype(np.uint32)
    return SeedCoefficients(seeds, index, rng.normal(size=count).astype(np.float32))


def one_by_one(name, sent, along):
    summed = np.zeros(SHAPE)
    for seed, value in zip(sent.index.tolist(), sent.value, strict=True):
        if along.kind == "lowrank":
            u, v = directions.low_rank(along.key, np.array([seed]), name, SHAPE, along.rank)
            z = u[0] @ v[0].T / along.rank**0.5
        else:
            draw = getattr(directions, along.kind)
            z = draw(along.key, seed, name, 0, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
        summed += value * z
    return summed


@pytest.mark.parametrize("kind", ["lowrank", "rademacher", "gaussian"])
def test_total_is_the_sum_of_directions(kind):
    """Σ C_k z_k of a tensor equals adding its directions one by one."""
    along = Directions(kind, 2, 5)

    summed = total("w", SHAPE, coefficients(7), along)

    assert np.allclose(summed, one_by_one("w", coefficients(7), along), atol=1e-5)


@pytest.mark.parametrize("kind", ["lowrank", "rademacher"])
@pytest.mark.parametrize("count", [0, 3, 20])
def test_the_adapter_is_exactly_the_sum(kind, count):
    """B·A of the exported factors is Σ C_k z_k, for few seeds and for more than the rank of W."""
    along = Directions(kind, 1, 5)

    factors = as_lora({"m": SHAPE}, coefficients(count), along)

    product = (
        factors["base_model.model.m.lora_B.weight"] @ factors["base_model.model.m.lora_A.weight"]
    )
    assert np.allclose(product, one_by_one("m", coefficients(count), along), atol=1e-5)
    assert factors["base_model.model.m.lora_A.weight"].shape[0] <= min(SHAPE)


def test_more_seeds_than_one_chunk_are_exact_too():
    """A wide matrix and over a thousand seeds still give factors as wide as the seeds."""
    sent = SeedCoefficients(
        2000, np.arange(1100, dtype=np.uint32), np.full(1100, 0.01, dtype=np.float32)
    )
    along = Directions("lowrank", 1, 5)

    factors = as_lora({"m": (1200, 1300)}, sent, along)

    product = (
        factors["base_model.model.m.lora_B.weight"] @ factors["base_model.model.m.lora_A.weight"]
    )
    assert np.allclose(product, total("m", (1200, 1300), sent, along), atol=1e-4)
    assert factors["base_model.model.m.lora_A.weight"].shape == (1100, 1300)


def test_moved_starts_where_it_is_told():
    """Without coefficients, a space is its start."""
    start = {"w": np.ones(SHAPE, dtype=np.float32)}

    assert (moved(start, coefficients(0), Directions("lowrank", 1, 5))["w"] == 1).all()
