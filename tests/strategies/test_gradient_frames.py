"""Frames from gradients, against gradients whose directions are known."""

from dataclasses import replace

import numpy as np
import pytest
from tests.strategies.members.installed import CONFIG

from antiphon.core import registry
from antiphon.core.config import validate
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.section import Choice
from antiphon.core.space import SpaceShapes
from antiphon.strategies.exchanges.exchange import SoFar
from antiphon.strategies.frames.frames import frames_of
from antiphon.strategies.frames.gradient import Sides
from antiphon.strategies.frames.sketch import kind_of
from antiphon.strategies.methods.method import method_of

R, RANK = 4, 3
SIDES = {f"layers.{layer}.{name}": (48, 96) for layer in range(6) for name in ("q", "v")}
FACTORS = {
    f"{module}.lora_{factor}.weight": (R, d_in) if factor == "A" else (d_out, R)
    for module, (d_out, d_in) in SIDES.items()
    for factor in "AB"
}
SHAPES = SpaceShapes(FACTORS, {}, "base", 9_000)


def frames_with(**arguments):
    """The kind under test, at the rank of these modules."""
    lora = CONFIG.lora.model_copy(update={"r": R})
    chosen = Choice(kind="gradient", **arguments)
    return frames_of(CONFIG.model_copy(update={"lora": lora, "frames": chosen}))


def gradients(seed):
    """Gradients of rank three; modules that read alike share their right directions."""
    shared = np.random.default_rng(0)
    rows = {name: shared.normal(size=(RANK, 96)) for name in ("q", "v")}
    columns = {module: shared.normal(size=(48, RANK)) for module in SIDES}
    rng = np.random.default_rng(seed)
    return {
        module: columns[module] @ rng.normal(size=(RANK, RANK)) @ rows[module[-1]]
        for module in SIDES
    }


def mean_of(*seeds):
    """The mean gradient of some clients."""
    all_of_them = [gradients(seed) for seed in seeds]
    return {module: np.mean([each[module] for each in all_of_them], axis=0) for module in SIDES}


def sketch_of(frames, found, loudness=1.0):
    """What a client with these gradients sends."""
    sketch = frames.sketched(FACTORS)
    left = {m: (loudness * g @ sketch.columns(m)).astype(np.float32) for m, g in found.items()}
    right = {name: np.zeros(shape, np.float32) for name, shape in sketch.right.items()}
    for module, each in found.items():
        kind = kind_of(module, SIDES[module])
        right[kind] += (loudness * sketch.combinations(module) @ each).astype(np.float32)
    return frames.pack(Sides(left, right))


def found_by(frames, sent):
    """The factors that these clients' sketches come to."""
    clients = {f"c{number}": each for number, each in enumerate(sent)}
    coded = frames.exchange.combine(SoFar(1, tuple(clients), shapes=SHAPES), clients)
    return frames.factors(FACTORS, coded)


def held(factors, of):
    """The share of gradients' energy that lies within the frames' span."""
    whole = inside = 0.0
    for module, gradient in of.items():
        a, b = factors[f"{module}.lora_A.weight"], factors[f"{module}.lora_B.weight"]
        left, right = np.linalg.qr(b)[0], np.linalg.qr(a.T)[0]
        whole += np.sum(gradient**2)
        inside += np.sum((left.T @ gradient @ right) ** 2)
    return inside / whole


def test_directions_of_low_rank_are_found():
    """Of clients whose gradients share them, and of one that nobody has asked."""
    frames = frames_with(bits=7, sketch_bits=7)
    sent = [sketch_of(frames, gradients(seed)) for seed in (1, 2, 3)]

    found = found_by(frames, sent)

    assert held(found, mean_of(1, 2, 3)) > 0.995
    assert held(found, gradients(9)) > 0.98


@pytest.mark.parametrize(("bits", "least"), [(1.0, 0.5), (2.0, 0.8), (4.0, 0.97)])
def test_coarse_codes_keep_much_of_it(bits, least):
    """Both ways at so many bits a number, of small modules whose numbers are Gaussian."""
    frames = frames_with(bits=bits, sketch_bits=bits)
    sent = [sketch_of(frames, gradients(seed)) for seed in (1, 2, 3)]

    assert held(found_by(frames, sent), mean_of(1, 2, 3)) > least


def test_seeded_frames_hold_next_to_nothing():
    """What is shown above is the gradients' doing."""
    seeded = frames_of(CONFIG.model_copy(update={"lora": CONFIG.lora.model_copy(update={"r": R})}))

    assert held(seeded.factors(FACTORS, {}), gradients(9)) < 0.05


def test_who_speaks_louder_says_no_more():
    """A sketch counts as its direction: a thousand times the gradient gives the same frames."""
    frames = frames_with(bits=7, sketch_bits=7)
    quiet, loud = (
        found_by(
            frames, [sketch_of(frames, gradients(1)), sketch_of(frames, gradients(2), loudness)]
        )
        for loudness in (1.0, 1024.0)
    )

    for name in FACTORS:
        np.testing.assert_allclose(quiet[name], loud[name], atol=0.05)


def test_who_puts_all_it_has_into_one_module_displaces_nobody():
    """A module of its own choice, directions of nobody else: those of three honest clients stay."""
    frames = frames_with(bits=7, sketch_bits=7)
    rng = np.random.default_rng(5)
    aimed = {m: np.zeros(side) for m, side in SIDES.items()} | {
        "layers.0.q": rng.normal(size=(48, 96))
    }
    honest = [sketch_of(frames, gradients(seed)) for seed in (1, 2, 3)]

    found = found_by(frames, [*honest, sketch_of(frames, aimed)])

    only = {"layers.0.q": mean_of(1, 2, 3)["layers.0.q"]}
    assert held(found, only) > 0.75


def test_a_single_client_has_frames_of_full_rank():
    """What one gradient does not fill is orthonormal all the same."""
    frames = frames_with(bits=7, sketch_bits=7)

    found = found_by(frames, [sketch_of(frames, gradients(1))])

    assert held(found, gradients(1)) > 0.995
    assert all(
        np.linalg.matrix_rank(found[f"{module}.lora_B.weight"].astype(float)) == R
        for module in SIDES
    )


def test_a_module_that_hardly_learns_is_heard_as_well():
    """Its gradient is a thousandth of the others', and its directions are found no less exactly."""
    frames = frames_with(bits=2, sketch_bits=2)
    sent = [
        sketch_of(frames, found | {"layers.3.v": found["layers.3.v"] / 1000})
        for found in map(gradients, (1, 2, 3))
    ]

    found = found_by(frames, sent)

    assert held(found, {"layers.3.v": mean_of(1, 2, 3)["layers.3.v"]}) > 0.7


def test_the_first_directions_are_coded_most_exactly():
    """In which most of a gradient lies: those of B at few bits, beside those at many."""
    coarse, fine = (
        found_by(
            frames_with(bits=bits, sketch_bits=7),
            [sketch_of(frames_with(sketch_bits=7), gradients(1))],
        )
        for bits in (1.0, 7)
    )

    lost = np.mean(
        [
            np.sum((coarse[name] - fine[name]) ** 2, axis=0)
            for name in FACTORS
            if ".lora_B." in name
        ],
        axis=0,
    )
    assert lost[0] < 0.3 * lost[RANK - 1]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(number, monkeypatch):
    """Whatever a code unpacks to: they would make frames of nothing."""
    frames = frames_with()
    sent = sketch_of(frames, gradients(1))
    codec = registry.build("codec", "ecdq", {})
    broken = replace(
        codec, decode=lambda content, shapes: {n: np.full(s, number) for n, s in shapes.items()}
    )
    monkeypatch.setattr(registry, "build", lambda *asked: broken)

    with pytest.raises(UpdateError, match="finite"):
        frames.exchange.check(SoFar(1, ("north",), shapes=SHAPES), "north", sent)


def test_a_client_without_a_gradient_does_no_harm():
    """Zeros have no direction."""
    frames = frames_with(bits=7, sketch_bits=6)
    nothing = {module: np.zeros(side) for module, side in SIDES.items()}

    found = found_by(frames, [sketch_of(frames, nothing), sketch_of(frames, gradients(1))])

    assert held(found, gradients(1)) > 0.99


def test_modules_that_read_alike_share_their_rows():
    """A stands once in what travels for all layers."""
    frames = frames_with()

    found = found_by(frames, [sketch_of(frames, gradients(1))])

    first = found["layers.0.q.lora_A.weight"]
    assert all(np.array_equal(found[f"layers.{n}.q.lora_A.weight"], first) for n in range(6))
    assert not np.array_equal(found["layers.0.v.lora_A.weight"], first)


def test_more_rows_than_a_module_reads_are_refused():
    """There are no more orthonormal ones."""
    with pytest.raises(ConfigError, match="lower"):
        frames_with(rows=97).sketched(FACTORS)


def test_a_space_without_frames_refuses_them():
    """A and B of `lora` both move."""
    values = CONFIG.model_dump(mode="json") | {"frames": "gradient", "method": "lora"}

    with pytest.raises(ConfigError, match="stands still"):
        validate(values)


def test_the_exchange_comes_before_training():
    """Nobody trains before the frames are known."""
    values = CONFIG.model_dump(mode="json") | {"frames": "gradient", "method": "fedsb", "mixed": {}}

    assert [each.name for each in method_of(validate(values)).every_exchange] == [
        "gradient",
        "training",
    ]
