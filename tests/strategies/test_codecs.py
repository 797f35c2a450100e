"""Our codecs: how exact each is, and the envelope that they share. What all codecs owe is in members/."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.strategies.compression import frame, rice
from antiphon.strategies.compression.bf16 import bf16, from_bf16, to_bf16
from antiphon.strategies.compression.blockwise import int4, int8
from antiphon.strategies.compression.dense import float32
from antiphon.strategies.compression.ecdq import ecdq
from antiphon.strategies.compression.eden import eden
from antiphon.strategies.compression.sign import sign
from antiphon.strategies.compression.ternary import ternary
from antiphon.strategies.compression.topk import topk

OURS = {
    "float32": float32,
    "bf16": bf16,
    "int8": int8,
    "int4": int4,
    "sign": sign,
    "ternary": ternary,
    "topk": topk,
    "eden": eden,
    "ecdq": ecdq,
}
VARIANTS = {
    "int8, block 7, float32": int8(block=7, scales="float32"),
    "topk, half, float32": topk(fraction=0.5, values="float32"),
    "ecdq, 0.1": ecdq(bits=0.1),
    "ecdq, 8": ecdq(bits=8.0),
    "eden, 4": eden(bits=4),
    "eden, unbiased": eden(unbiased=True),
    "sign, block 7": sign(block=7),
    "int4, block 7": int4(block=7),
}
SEALED = {**{name: make() for name, make in OURS.items() if name != "float32"}, **VARIANTS}
CODECS = {"float32": float32(), **SEALED}
KINDS = {
    "bf16": b"b",
    "int8": b"8",
    "int4": b"4",
    "sign": b"s",
    "ternary": b"t",
    "topk": b"k",
    "eden": b"e",
    "ecdq": b"q",
}
# ‖x − x̂‖² / ‖x‖² on Gaussians.
MOST_ERROR = {
    "float32": 0.0,
    "bf16": 2.0**-16,
    "int8": 1e-4,
    "int8, block 7, float32": 5e-5,
    "topk": 0.75,
    "topk, half, float32": 0.1,
    "ecdq": 0.45,
    "ecdq, 0.1": 1.0,
    "ecdq, 8": 1e-4,
    "int4": 0.04,
    "int4, block 7": 0.02,
    "sign": 0.4,
    "sign, block 7": 0.4,
    "ternary": 0.8,
    "eden": 0.38,
    "eden, 4": 0.011,
    "eden, unbiased": 0.6,
}
SHAPES = {"b.lora_A": (8, 300), "a.lora_B": (300, 8), "bias": (40,), "one": (1, 1)}

every = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())
sealed = pytest.mark.parametrize("codec", SEALED.values(), ids=SEALED.keys())


def update(seed=0, shapes=SHAPES):
    """An update of Gaussians."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def rng():
    """A generator that always begins alike."""
    return np.random.default_rng(5)


@cache
def encoded(codec):
    """The usual update, encoded once."""
    return codec.encode(update(), rng())


def round_trip(codec, tensors):
    """Encode and decode."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return codec.decode(codec.encode(tensors, rng()), shapes)


def refused_or_finite(codec, content, shapes):
    """Decode; an answer must have the shapes and be finite, anything but UpdateError is a defect."""
    try:
        tensors = codec.decode(content, shapes)
    except UpdateError:
        return
    assert {name: tensor.shape for name, tensor in tensors.items()} == dict(shapes)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


@pytest.mark.parametrize("name", CODECS)
def test_error_is_within_the_codecs_bound(name):
    """‖x − x̂‖² / ‖x‖² on Gaussians is at most what the codec promises."""
    sent = update()

    got = round_trip(CODECS[name], sent)

    lost = sum(float(np.sum((got[each] - sent[each]) ** 2)) for each in sent)
    assert lost <= MOST_ERROR[name] * sum(float(np.sum(t**2)) for t in sent.values())


@sealed
def test_scalars_and_empty_tensors_are_tensors_too(codec):
    """A shape of no dimensions, and one with a side of 0, come back as they were."""
    shapes = {"scalar": (), "none": (0, 8), "w": (3, 3)}

    got = round_trip(codec, update(0, shapes))

    assert {name: tensor.shape for name, tensor in got.items()} == shapes


@pytest.mark.parametrize("name", [each for each in CODECS if not each.startswith("int4")])
def test_one_parameter_survives(name):
    """An update of a single number comes back within 1 %: of all but four-bit steps."""
    codec = CODECS[name]

    got = round_trip(codec, {"w": np.array([-3.7], np.float32)})

    np.testing.assert_allclose(got["w"], [-3.7], rtol=0.01)


@pytest.mark.parametrize("name", [n for n in SEALED if not n.startswith(("sign", "eden"))])
@pytest.mark.parametrize(
    "values",
    [
        np.full(500, 0.25),
        np.array([3.4028235e38, -3.4028235e38, 1.0]),
        np.array([1e-45, -1e-42, 1e-39] * 50),
        np.concatenate([np.random.default_rng(0).normal(size=500), [1e30]]),
    ],
    ids=["equal", "largest", "denormal", "outlier"],
)
def test_odd_values_come_back_finite_and_no_larger(name, values):
    """Equal, huge, denormal and outlying parameters: finite, of the right sign, hardly too large, unless
    all of a block have one magnitude or are mixed with each other.
    """
    sent = values.astype(np.float32)

    got = round_trip(SEALED[name], {"w": sent})["w"].astype(np.float64)

    wanted = sent.astype(np.float64)
    assert np.isfinite(got).all()
    assert (got * wanted >= 0).all()
    assert (np.abs(got) <= np.abs(wanted) + np.abs(wanted).max() / 20 + 1e-39).all()


def test_deterministic_rounding_declares_its_bias():
    """Rounding, thresholds and dead zones are biased; exact and random rounding are not."""
    biased = {name for name, make in OURS.items() if make().biased}

    assert biased == {"bf16", "sign", "ternary", "topk", "eden", "ecdq"}


def test_only_exact_values_can_be_summed_under_a_mask():
    """Steps, scales, rotations and places are the sender's own everywhere else."""
    assert {name for name, make in OURS.items() if make().summable} == {"float32"}


def test_bf16_rounds_to_nearest_even():
    """Ties go to the even neighbour, as in the IEEE rule."""
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 3.4e38], np.float32)

    got = from_bf16(to_bf16(ties))

    np.testing.assert_array_equal(got[:3], [1, 1 + 2**-6, -1])
    assert np.isfinite(got[3])


def test_topk_keeps_the_largest_of_the_whole_update():
    """One threshold for all tensors: what is kept is exactly the largest 5 %."""
    sent = {"a": np.arange(1, 51, dtype=np.float32), "b": -np.arange(51, 101, dtype=np.float32)}

    got = round_trip(topk(fraction=0.05, values="float32"), sent)

    assert not got["a"].any()
    np.testing.assert_array_equal(got["b"][-5:], sent["b"][-5:])
    assert np.count_nonzero(got["b"]) == 5


def test_signs_carry_the_mean_magnitude_of_their_block():
    """x̂ = mean|x| · sign(x), the scale of least squared error, to bfloat16's precision."""
    values = np.array([1, -3, 2, -2, 10, -30], np.float32)

    got = round_trip(sign(block=4), {"w": values})["w"]

    np.testing.assert_allclose(got, [2, -2, 2, -2, 20, -20], rtol=0.004)


def test_ternary_keeps_the_signs_of_the_largest_and_their_mean():
    """What is kept has one magnitude, the mean of what it stands for; all else is zero."""
    values = np.array([0.1, -8, 0.2, 4, -0.3, 0.1, 0, 0.2], np.float32)

    got = round_trip(ternary(fraction=0.25), {"w": values})["w"]

    np.testing.assert_array_equal(got, [0, -6, 0, 6, 0, 0, 0, 0])


@pytest.mark.parametrize(("bits", "most"), [(1, 0.366), (2, 0.120), (3, 0.0355), (4, 0.0100)])
def test_a_rotated_updates_error_does_not_depend_on_it(bits, most):
    """The error of Lloyd-Max levels on a Gaussian, for parameters that are anything but one."""
    values = np.random.default_rng(0).standard_t(2, 8192).astype(np.float32)

    got = round_trip(eden(bits=bits), {"w": values})["w"].astype(np.float64)

    assert np.sum((got - values) ** 2) <= most * np.sum(values.astype(np.float64) ** 2)


def test_an_unbiased_rotation_keeps_the_inner_product():
    """⟨x, x̂⟩ = ‖x‖² in every single message: what it loses stands at right angles to what it sent."""
    values = np.random.default_rng(0).normal(size=4096).astype(np.float32)

    got = round_trip(eden(unbiased=True), {"w": values})["w"].astype(np.float64)

    np.testing.assert_allclose(got @ values, np.sum(values.astype(np.float64) ** 2), rtol=1e-4)


def test_rice_gaps_are_close_to_the_entropy():
    """Positions of 5 % at random take at most 2 % more than n·h(0.05) bits."""
    n = 200_000
    positions = np.sort(np.random.default_rng(0).choice(n, n // 20, replace=False))

    packed = rice.pack(positions, n)

    np.testing.assert_array_equal(rice.unpack(memoryview(packed), n // 20, n), positions)
    assert 8 * len(packed) <= 1.02 * n * 0.2864


@sealed
@given(data=st.data())
@settings(max_examples=25)
def test_any_changed_byte_is_refused(codec, data):
    """The checksum catches every flipped byte and every truncation."""
    content = bytearray(encoded(codec))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(UpdateError):
        codec.decode(bytes(content), SHAPES)
    with pytest.raises(UpdateError):
        codec.decode(bytes(content[:at]), SHAPES)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=60)
def test_lies_under_a_right_checksum_are_harmless(name, data):
    """A sender who seals a changed body gets UpdateError, or finite tensors of the round's shapes."""
    codec = SEALED[name]
    body = bytearray(encoded(codec)[frame.HEADER_BYTES :])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, min(len(body) - 1, 120)))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 4))

    refused_or_finite(
        codec, frame.seal(KINDS[name], SHAPES, bytes(body[: len(body) - cut])), SHAPES
    )


@pytest.mark.parametrize("name", KINDS)
@given(body=st.binary(max_size=300))
@settings(max_examples=60)
def test_random_bodies_under_a_right_checksum_are_harmless(name, body):
    """Sealed noise raises UpdateError, or decodes to finite tensors of the round's shapes."""
    refused_or_finite(SEALED[name], frame.seal(KINDS[name], SHAPES, body), SHAPES)


def test_another_codecs_message_is_refused_by_name():
    """The envelope says which codec it is."""
    with pytest.raises(UpdateError, match="codec b'b'"):
        ecdq().decode(bf16().encode(update(), rng()), SHAPES)


@pytest.mark.parametrize(
    "make",
    [
        lambda: int8(block=0),
        lambda: int4(block=0),
        lambda: sign(block=0),
        lambda: topk(fraction=0.0),
        lambda: ternary(fraction=1.5),
        lambda: ecdq(bits=9.0),
    ],
)
def test_arguments_out_of_range_are_config_errors(make):
    """A wrong argument is said when the config is read."""
    with pytest.raises(ConfigError, match="expected"):
        make()
