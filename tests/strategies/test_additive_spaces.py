"""Spaces in which the mean of deltas is exact, beside dense arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members.installed import CONFIG

from antiphon.core.errors import ConfigError
from antiphon.core.method_choice import MethodChoice
from antiphon.core.space import SpaceShapes
from antiphon.core.types import Package, Update
from antiphon.strategies.fold import Context
from antiphon.strategies.frames.orthonormal import frame
from antiphon.strategies.methods.method import method_of

R = CONFIG.lora.r
FACTORS = {"m.lora_A.weight": (R, 40), "m.lora_B.weight": (24, R)}
SHAPES = SpaceShapes(FACTORS, {}, "base", 9_000)
KINDS = ("lora_b", "core")


def config_of(space, **others):
    """A run in a space, clients unprotected."""
    method = MethodChoice(kind="written", space=space, trainer="adamw", form="delta")
    return CONFIG.model_copy(update={"method": method, "protection": (), **others})


def dense(space, config, point):
    """The weight that a point stands for."""
    factors, scale = space.export(SHAPES, Package(space.kind, point))
    return scale * factors["m.lora_B.weight"].astype(float) @ factors["m.lora_A.weight"]


def deltas(space, count, seed=0):
    """What clients have learnt."""
    rng = np.random.default_rng(seed)
    shapes = space.numbers(SHAPES)
    return [
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fold_is_the_mean_of_the_clients_weights(kind):
    """What the products of all clients are in the mean, the new point stands for, without an error."""
    config = config_of(kind)
    served = method_of(config).serve()
    sent = deltas(served.space, 3)
    updates = [Update(f"c{i}", 1, 10 + i, 5, Package("delta", each)) for i, each in enumerate(sent)]

    folded = served.fold(served.begin(SHAPES), updates, Context(1))

    weights = np.array([10, 11, 12]) / 33
    wanted = sum(
        w * dense(served.space, config, each) for w, each in zip(weights, sent, strict=True)
    )
    after = served.download(folded.state, R).arrays
    np.testing.assert_allclose(dense(served.space, config, after), wanted, rtol=1e-5, atol=1e-5)
    assert folded.report["aggregation_error"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_moves_travels(kind):
    """B alone, or r² numbers a module."""
    served = method_of(config_of(kind)).serve()

    received = served.download(served.begin(SHAPES), R).arrays

    wanted = {"lora_b": {"m.lora_B.weight": (24, R)}, "core": {"m.core": (R, R)}}[kind]
    assert {name: each.shape for name, each in received.items()} == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_smaller_ranks_are_refused(kind):
    """A point of such a space has one rank."""
    ranked = CONFIG.lora.model_copy(update={"client_ranks": {"mill": 2}})

    with pytest.raises(ConfigError, match="one rank"):
        method_of(config_of(kind, lora=ranked))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**63 - 1), side=st.integers(5, 40), factor=st.sampled_from("AB"))
def test_frames_are_orthonormal(seed, side, factor):
    """Rows of A, columns of B."""
    name = f"m.lora_{factor}.weight"

    drawn = frame(name, (5, side) if factor == "A" else (side, 5), seed).astype(float)

    gram = drawn @ drawn.T if factor == "A" else drawn.T @ drawn
    np.testing.assert_allclose(gram, np.eye(5), atol=1e-6)


def test_a_rank_above_the_sides_is_refused():
    """There are no more orthonormal rows than dimensions."""
    with pytest.raises(ConfigError, match="lower the rank"):
        frame("m.lora_A.weight", (6, 5), 1)
