"""What every installed codec has in common: what it declares holds, and what nobody wrote it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies.members.installed import cases

from antiphon.core.errors import UpdateError
from antiphon.strategies.compression.error_feedback import corrected, residual

SHAPES = {"b.lora_A": (8, 300), "a.lora_B": (300, 8), "bias": (40,), "one": (1, 1)}
SMALL = {"a": (40, 8), "b": (8, 50)}
ODD = {
    "equal": np.full(500, 0.25),
    "largest": np.array([3.4028235e38, -3.4028235e38, 1.0]),
    "denormal": np.array([1e-45, -1e-42, 1e-39] * 50),
    "outlier": np.concatenate([np.random.default_rng(0).normal(size=500), [1e30]]),
}


@pytest.fixture(scope="module", params=cases("codec"), ids=str)
def codec(request):
    return request.param.build()


def update(seed=0, shapes=SHAPES):
    """An update of Gaussians."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def rng():
    """A generator that always begins alike."""
    return np.random.default_rng(5)


def shapes_of(tensors):
    return {name: tensor.shape for name, tensor in tensors.items()}


def round_trip(codec, tensors, random=None):
    """Encode and decode."""
    return codec.decode(codec.encode(tensors, random or rng()), shapes_of(tensors))


def assert_refused_or_finite(codec, content, shapes):
    """Decode; an answer must have the shapes and be finite, anything but UpdateError is a defect."""
    try:
        tensors = codec.decode(content, shapes)
    except UpdateError:
        return
    assert shapes_of(tensors) == dict(shapes)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_shapes_and_dtype_are_restored(codec):
    """Matrices, vectors and tensors with a side of 0 come back as they were, finite."""
    shapes = {**SHAPES, "none": (0, 8)}

    got = round_trip(codec, update(0, shapes))

    assert shapes_of(got) == shapes
    assert {tensor.dtype for tensor in got.values()} == {np.dtype(np.float32)}
    assert all(np.isfinite(tensor).all() for tensor in got.values())


def test_no_more_is_lost_than_was_there(codec):
    """‖x − x̂‖² ≤ ‖x‖² on Gaussians: a codec that only made it worse had better send nothing."""
    sent = update()

    got = round_trip(codec, sent)

    lost = sum(float(np.sum((got[each] - sent[each]) ** 2)) for each in sent)
    assert lost <= sum(float(np.sum(tensor**2)) for tensor in sent.values())


@pytest.mark.parametrize("values", ODD.values(), ids=ODD.keys())
def test_odd_values_come_back_finite(codec, values):
    """Equal, huge, denormal and outlying parameters."""
    got = round_trip(codec, {"w": values.astype(np.float32)})["w"]

    assert np.isfinite(got).all()


@pytest.mark.parametrize("shapes", [{}, {"empty": (0,)}, {"one": (1,)}, SHAPES])
def test_zeros_are_sent_exactly(codec, shapes):
    """A delta of zeros, of one parameter and of none too, comes back as zeros."""
    got = round_trip(codec, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})

    assert set(got) == set(shapes)
    assert not any(tensor.any() for tensor in got.values())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_not_packed(codec, value):
    """NaN and Inf raise UpdateError on encoding, naming the tensor."""
    with pytest.raises(UpdateError, match="w2"):
        codec.encode({"w1": np.zeros(3, np.float32), "w2": np.array([value], np.float32)}, rng())


def test_encoding_follows_from_tensors_and_generator(codec):
    """The same tensors in any order and an equal generator give the same bytes; nothing is changed."""
    tensors = update()
    turned = dict(reversed(tensors.items()))

    first, second = codec.encode(tensors, rng()), codec.encode(turned, rng())

    assert first == second
    assert all((tensors[name] == tensor).all() for name, tensor in update().items())


def test_decoding_ignores_the_order_of_the_manifest(codec):
    """A manifest in another order gives the same tensors."""
    content = codec.encode(update(), rng())

    straight = codec.decode(content, SHAPES)
    turned = codec.decode(content, dict(reversed(SHAPES.items())))

    assert all((straight[name] == turned[name]).all() for name in SHAPES)


@pytest.mark.parametrize("n", [1, 10, 1000, 30_000])
def test_bits_is_an_honest_upper_estimate(codec, n):
    """A message is never longer than `bits` says, header included: budgets are kept by it."""
    content = codec.encode(update(n, {"w": (n,)}), rng())

    assert 8 * len(content) <= codec.bits(n) * n * (1 + 1e-12)


def test_who_says_unbiased_is_right_on_average(codec):
    """The mean over 1,000 draws is the update, within six standard errors and float32's rounding."""
    sent, random = update(3, {"w": (100,)}), np.random.default_rng(0)
    draws = 1 if codec.biased else 1000  # a biased one claims nothing

    got = np.array([round_trip(codec, sent, random)["w"] for _ in range(draws)], np.float64)

    error, spread = np.abs(got.mean(axis=0) - sent["w"]), got.std(axis=0) / draws**0.5
    assert codec.biased or (error <= 6 * spread + 1e-6 * np.abs(sent["w"])).all()


@settings(max_examples=5)
@given(rounds=st.integers(1, 8), seed=st.integers(0, 1000))
def test_sum_of_sent_and_last_residual_is_sum_of_deltas(codec, rounds, seed):
    """Error feedback loses nothing: Σ decoded + residual = Σ Δ to 1e-5 relative, at decay 1."""
    random, kept = np.random.default_rng(seed), {}
    sent = {name: np.zeros(shape) for name, shape in SMALL.items()}
    deltas = [update(seed + each, SMALL) for each in range(rounds)]

    for delta in deltas:
        wanted = corrected({**delta, "b": delta["b"] / 10}, kept)
        decoded = round_trip(codec, wanted, random)
        kept = residual(wanted, decoded)
        sent = {name: sent[name] + decoded[name] for name in sent}

    for name, scale in (("a", 1), ("b", 0.1)):
        total = scale * sum(delta[name].astype(np.float64) for delta in deltas)
        error = np.linalg.norm(sent[name] + kept[name] - total)
        assert error <= 1e-5 * np.sqrt(rounds) * scale * np.linalg.norm(deltas[0][name])


@settings(max_examples=25)
@given(data=st.data())
def test_a_changed_stream_is_refused_or_harmless(codec, data):
    """Cut short it is refused; with a byte changed, refused or finite tensors of the round's shapes."""
    content = bytearray(codec.encode(update(0, SMALL), rng()))
    at = data.draw(st.integers(0, len(content) - 1))

    with pytest.raises(UpdateError):
        codec.decode(bytes(content[:at]), SMALL)
    content[at] ^= data.draw(st.integers(1, 255))
    assert_refused_or_finite(codec, bytes(content), SMALL)


@settings(max_examples=25)
@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(codec, content):
    """Bytes that no codec wrote raise UpdateError and nothing else."""
    with pytest.raises(UpdateError):
        codec.decode(content, SHAPES)


@pytest.mark.parametrize("other", [{"w": (6, 4)}, {"v": (4, 6)}, {"w": (4, 6), "v": (1,)}, {}])
def test_another_manifest_is_refused(codec, other):
    """A message is bound to its names and shapes, even where the number of parameters fits."""
    content = codec.encode({"w": np.ones((4, 6), np.float32)}, rng())

    with pytest.raises(UpdateError):
        codec.decode(content, other)
