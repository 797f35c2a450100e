"""What the factors of every installed kind of frames have in common."""

import numpy as np
import pytest
from tests.strategies.members.installed import CONFIG, cases

from antiphon.core.errors import UpdateError
from antiphon.core.space import SpaceShapes
from antiphon.core.tensors import to_bytes
from antiphon.strategies.exchanges.exchange import SoFar
from antiphon.strategies.frames.gradient import GradientFrames, Sides

R = CONFIG.lora.r
SHAPES = SpaceShapes(
    {
        f"layers.{layer}.{name}.lora_{factor}.weight": shape
        for layer in (0, 1)
        for name, d_out, d_in in (("q", 24, 40), ("down", 40, 64))
        for factor, shape in (("A", (R, d_in)), ("B", (d_out, R)))
    },
    {},
    "base",
    9_000,
)
ROUND = SoFar(1, ("north", "south"), shapes=SHAPES)


@pytest.fixture(scope="module", params=cases("frames"), ids=str)
def frames(request):
    return request.param.build()


def answers(frames):
    """What two clients send where the frames are found in an exchange."""
    sketch, found = frames.sketched(SHAPES.factors), {}
    for seed, client in enumerate(ROUND.cohort):
        rng = np.random.default_rng(seed)
        left, right = (
            {name: rng.normal(size=shape).astype(np.float32) for name, shape in side.items()}
            for side in (sketch.left, sketch.right)
        )
        found[client] = frames.pack(Sides(left, right))
    return found


def come_to(frames):
    """What travels to every client: nothing, where no sketches of gradients are asked for."""
    if not isinstance(frames, GradientFrames):
        return {}
    return frames.exchange.combine(ROUND, answers(frames))


@pytest.mark.parametrize("before", [True, False])
def test_every_module_has_both_factors(frames, before):
    """Under PEFT's names, before an exchange and after it: as many rows of A as is said, r columns of B."""
    factors = frames.factors(SHAPES.factors, {} if before else come_to(frames))

    assert {name: each.shape for name, each in factors.items()} == {
        name: (frames.rows, shape[1]) if ".lora_A." in name else (shape[0], R)
        for name, shape in SHAPES.factors.items()
    }


def test_the_same_code_gives_the_same_bits(frames):
    """Two machines that have received the same stand on the same ground."""
    coded = come_to(frames)

    one, other = (frames.factors(SHAPES.factors, dict(coded)) for _ in range(2))

    assert {name: each.tobytes() for name, each in one.items()} == {
        name: each.tobytes() for name, each in other.items()
    }


def test_what_travels_is_no_larger_than_is_said(frames):
    """A site holds what it fetches against that bound."""
    assert len(to_bytes(come_to(frames))) <= max(frames.most(SHAPES), len(to_bytes({})))


def test_no_direction_is_longer_than_about_one(frames):
    """A learning rate means the same, wherever the frames come from; what a code has lost moves less."""
    factors = frames.factors(SHAPES.factors, come_to(frames))

    lengths = [
        np.linalg.norm(each, axis=1 if ".lora_A." in name else 0) for name, each in factors.items()
    ]
    assert np.concatenate(lengths).max() < 1.5
    assert all(each[0] > 0.5 for each in lengths)


def test_only_what_was_asked_for_is_an_answer(frames):
    """Bytes of nobody's codec, and arrays of other names, are refused with a sentence."""
    exchange = frames.exchange
    garbage = {"left": np.arange(40, dtype=np.uint8), "right": np.arange(40, dtype=np.uint8)}

    for wrong in () if exchange is None else (garbage, {"left": garbage["left"]}, {}):
        with pytest.raises(UpdateError):
            exchange.check(ROUND, "north", wrong)
