"""Frames that leave out leading directions, and whose modules count by their gradients' lengths."""

import numpy as np
import pytest
from tests.strategies.members.installed import CONFIG

from antiphon.core.errors import UpdateError
from antiphon.core.section import Choice
from antiphon.core.space import SpaceShapes
from antiphon.strategies.exchanges.exchange import SoFar
from antiphon.strategies.frames import lengths
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.frames.gradient import Sides
from antiphon.strategies.frames.sketch import kind_of

R = 2
SIDES = {f"layers.{layer}.q": (24, 40) for layer in range(4)}
FACTORS = {
    f"{module}.lora_{factor}.weight": (R, d_in) if factor == "A" else (d_out, R)
    for module, (d_out, d_in) in SIDES.items()
    for factor in "AB"
}
SHAPES = SpaceShapes(FACTORS, {}, "base", 9_000)
LOUD = "layers.1.q"


def frames_with(**arguments):
    """The kind under test, in a fine code."""
    lora = CONFIG.lora.model_copy(update={"r": R})
    fine = {"bits": 7, "sketch_bits": 7, "rows": R}
    chosen = Choice(kind="gradient", **(fine | arguments))
    return frames_of(CONFIG.model_copy(update={"lora": lora, "frames": chosen}))


def left_vectors(module):
    """What every client's gradient of a module has as left singular vectors, in their order."""
    rng = np.random.default_rng(sorted(SIDES).index(module))
    return np.linalg.qr(rng.normal(size=(SIDES[module][0], 3)))[0]


def gradients(seed=1, loud=4.0):
    """Gradients with singular values 1, 0.4 and 0.2; those of one module are `loud` times as long."""
    rows = np.linalg.qr(np.random.default_rng(seed).normal(size=(40, 3)))[0].T
    return {
        module: (loud if module == LOUD else 1.0) * (left_vectors(module) * [1.0, 0.4, 0.2]) @ rows
        for module in SIDES
    }


def sketch_of(frames, found):
    """What a client with these gradients sends."""
    sketch = frames.sketched(FACTORS)
    left = {m: (g @ sketch.columns(m)).astype(np.float32) for m, g in found.items()}
    right = {name: np.zeros(shape, np.float32) for name, shape in sketch.right.items()}
    for module, each in found.items():
        right[kind_of(module, SIDES[module])] += sketch.combinations(module) @ each
    return frames.pack(Sides(left, right))


def combined(frames, *sent):
    """What these clients' answers come to, as it travels."""
    clients = {f"c{number}": each for number, each in enumerate(sent)}
    return frames.exchange.combine(SoFar(1, tuple(clients), shapes=SHAPES), clients)


def factors(frames, *found):
    """The frames of clients with these gradients."""
    return frames.factors(FACTORS, combined(frames, *[sketch_of(frames, each) for each in found]))


def columns(made, module):
    """How long the columns of a module's B are."""
    return np.linalg.norm(made[f"{module}.lora_B.weight"], axis=0)


def test_a_module_counts_by_its_gradients_length():
    """That of four times the length, beside all others."""
    made = factors(frames_with(weigh=True), gradients())

    others = np.mean([columns(made, module) for module in SIDES if module != LOUD])
    assert np.mean(columns(made, LOUD)) / others == pytest.approx(4.0, rel=0.35)


def test_a_random_step_reaches_as_far_as_where_modules_count_alike():
    """The mean square of the columns' lengths is one, and A's rows are as they were."""
    alike, weighed = (factors(frames_with(weigh=each), gradients()) for each in (False, True))

    squares = [columns(weighed, module) ** 2 for module in SIDES]
    assert np.mean(squares) == pytest.approx(1.0, abs=0.05)
    name = f"{LOUD}.lora_A.weight"
    assert np.array_equal(alike[name], weighed[name])


def test_directions_are_those_of_modules_that_count_alike():
    """Only how long they are is another."""
    alike, weighed = (factors(frames_with(weigh=each), gradients()) for each in (False, True))

    for module in SIDES:
        name = f"{module}.lora_B.weight"
        np.testing.assert_allclose(
            weighed[name] / columns(weighed, module),
            alike[name] / columns(alike, module),
            atol=1e-5,
        )


def test_who_speaks_louder_says_no_more():
    """A client's lengths count as shares of its own sum."""
    frames = frames_with(weigh=True)
    other = gradients(2, loud=0.1)

    one, many = (
        factors(frames, gradients(), {module: by * each for module, each in other.items()})
        for by in (1.0, 1024.0)
    )

    for name in FACTORS:
        np.testing.assert_allclose(one[name], many[name], atol=0.05)


def test_who_puts_all_it_has_into_one_module_has_its_own_share_and_no_more():
    """One of three clients: a third, beside what that module has of the others."""
    frames = frames_with(weigh=True)
    aimed = {m: (each if m == LOUD else 0.0 * each) for m, each in gradients(3).items()}
    honest = [gradients(seed, loud=1.0) for seed in (1, 2)]

    coded = combined(frames, *[sketch_of(frames, each) for each in (*honest, aimed)])

    shares = coded["lengths"].astype(float)
    assert shares[1] / shares.sum() < 0.6


def test_a_client_without_a_gradient_does_no_harm():
    """Its modules count alike, so that those of the others keep their order."""
    frames = frames_with(weigh=True)
    nothing = {module: 0.0 * each for module, each in gradients().items()}

    made = factors(frames, gradients(), nothing)

    assert all(np.isfinite(each).all() for each in made.values())
    assert columns(made, LOUD)[0] > columns(made, "layers.0.q")[0]


def test_a_client_sends_a_byte_for_each_module():
    """And nothing of it where modules count alike."""
    alike, weighed = (sketch_of(frames_with(weigh=each), gradients()) for each in (False, True))

    assert set(weighed) - set(alike) == {"lengths"}
    assert weighed["lengths"].nbytes == len(SIDES)


@pytest.mark.parametrize(
    "wrong",
    [None, np.zeros(3, np.uint8), np.zeros(len(SIDES), np.float32), np.zeros((4, 1), np.uint8)],
)
def test_lengths_of_another_shape_are_refused(wrong):
    """Before anything is made of them."""
    frames = frames_with(weigh=True)
    sent = {n: each for n, each in sketch_of(frames, gradients()).items() if n != "lengths"}

    with pytest.raises(UpdateError, match="lengths"):
        frames.exchange.check(
            SoFar(1, ("north",), shapes=SHAPES),
            "north",
            sent if wrong is None else sent | {"lengths": wrong},
        )


def test_lengths_that_nobody_asked_for_are_refused():
    """Where modules count alike."""
    sent = sketch_of(frames_with(weigh=True), gradients())

    with pytest.raises(UpdateError, match="lengths"):
        frames_with().exchange.check(SoFar(1, ("north",), shapes=SHAPES), "north", sent)


def test_modules_of_no_length_at_all_count_alike():
    """A table of zeros, which somebody may send."""
    assert np.array_equal(lengths.weights(np.zeros(3, np.uint8)), np.ones(3, np.float32))


def test_what_counts_nothing_is_a_byte_of_zero():
    """The longest is 255, a thousandth of it nothing."""
    assert lengths.as_bytes(np.array([1.0, 0.5, 0.001])).tolist() == [255, 128, 0]


def test_leading_directions_are_left_out():
    """B begins with the second one: nothing of the first is in it, the second and third are."""
    made = factors(frames_with(skip=1), gradients())

    for module in SIDES:
        inside = left_vectors(module).T @ np.linalg.qr(made[f"{module}.lora_B.weight"])[0]
        first, second, third = np.linalg.norm(inside, axis=1)
        assert first < 0.1
        assert min(second, third) > 0.9


def test_a_client_that_leaves_none_out_sends_fewer_columns():
    """What is left out has to be known."""
    short, long = (sketch_of(frames_with(skip=each), gradients()) for each in (0, 1))

    assert short["left"].nbytes < long["left"].nbytes


def test_what_travels_down_has_as_many_columns_as_before():
    """Those that are left out do not travel to everybody."""
    once = [frames_with(skip=each).once(SHAPES) for each in (0, 1)]

    assert once[0][1] == once[1][1]
    assert once[0][0] < once[1][0]
