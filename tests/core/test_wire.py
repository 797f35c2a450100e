"""The wire form: round trips to the bit, and nothing but UpdateError for anything broken."""

import contextlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from antiphon.core.blob import Blob, blob_of
from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.content import Content
from antiphon.core.errors import UpdateError
from antiphon.core.files import write_bytes
from antiphon.core.tensors import LazyTensors
from antiphon.core.types import Assignment, CodecChoice, LoraUpdate, Scalars, Update
from antiphon.core.wire import (
    CodedModel,
    Packed,
    pack_assignment,
    pack_model,
    pack_update,
    round_of,
    unpack_assignment,
    unpack_model,
    unpack_update,
    update_blob,
)
from antiphon.v1 import update_pb2

UINT32 = st.integers(0, 2**32 - 1)
FLOATS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=4, min_side=0))
TENSORS = st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1), FLOATS, max_size=4)
SCALARS = st.lists(st.tuples(UINT32, st.floats(width=32)), max_size=9).map(
    lambda steps: Scalars(
        np.array([index for index, _ in steps], np.uint32),
        np.array([value for _, value in steps], np.float32),
    )
)
UPDATES = st.builds(
    Update,
    client=st.just("north"),
    round=UINT32,
    examples=st.integers(0, 2**64 - 1),
    steps=UINT32,
    payload=SCALARS | TENSORS.map(LoraUpdate),
    metrics=st.dictionaries(st.text(max_size=8), st.floats(), max_size=4),
)
ASSIGNMENTS = st.builds(
    Assignment,
    round=UINT32,
    client=st.just("north"),
    method=st.sampled_from(["lora", "seeds"]),
    steps=UINT32,
    first_step=UINT32,
    total_steps=UINT32,
    learning_rate=st.floats(allow_nan=False),
    r=UINT32,
    seed=st.integers(0, 2**64 - 1),
    max_tokens=st.integers(0, 2**64 - 1),
)
BLOBS = st.builds(
    Blob,
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    bytes=st.integers(0, 2**64 - 1),
    encoding=st.text(max_size=12),
)
ONE = Update("north", 3, 120, 20, LoraUpdate({"m": np.ones((2, 3), np.float32)}), {"loss": 0.5})
STEPS = replace(ONE, payload=Scalars(np.array([3], np.uint32), np.array([0.5], np.float32)))


@st.composite
def coefficients(draw: st.DrawFn) -> SeedCoefficients:
    """Any coefficients of up to nine seeds."""
    num_seeds = draw(st.integers(1, 9))
    index = sorted(draw(st.sets(st.integers(0, num_seeds - 1))))
    value = draw(hnp.arrays(np.float32, len(index)))
    chances = draw(st.none() | hnp.arrays(np.float32, num_seeds))
    return SeedCoefficients(num_seeds, np.array(index, np.uint32), value, chances)


def same(one, other):
    """Equal to the bit: arrays, mappings of arrays, floats that may be NaN."""
    np.testing.assert_equal(vars_of(other), vars_of(one))


def vars_of(value):
    """A dataclass as plain nested dictionaries of bytes and dtypes."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {name: vars_of(each) for name, each in value.items()}
    return vars_of(vars(value)) if hasattr(value, "__dataclass_fields__") else value


def unpacked(packed, folder):
    """Unpack as the coordinator does: the blob lies in a file."""
    tensors = None
    if packed.content is not None:
        file = folder / "blob"
        file.write_bytes(packed.joined)
        tensors = LazyTensors(file)
    update = unpack_update(packed.message, "north", "run", tensors)
    if isinstance(update.payload, LoraUpdate):
        return replace(update, payload=LoraUpdate(dict(update.payload.delta)))
    return update


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that one file after the other is written into."""
    return tmp_path_factory.mktemp("wire")


@given(update=UPDATES)
def test_an_update_comes_back_to_the_bit(update, folder):
    """Tensors, scalars, counts and metrics, NaN and all."""
    packed = pack_update(update, "run")

    same(update, unpacked(packed, folder))
    assert round_of(packed.message) == update.round


@given(delta=TENSORS)
def test_an_update_names_its_tensors(delta):
    """The blob is named by size and SHA-256; scalars need none."""
    packed = pack_update(Update("north", 1, 1, 1, LoraUpdate(delta)), "run")

    assert update_blob(packed.message) == blob_of(packed.content, "safetensors")


@given(assignment=ASSIGNMENTS, model=BLOBS)
def test_an_assignment_comes_back_to_the_bit(assignment, model):
    """Every field, and the model's name."""
    message = pack_assignment(assignment, model, "run")

    assert unpack_assignment(message, "north", "run") == (assignment, model)


@given(model=TENSORS | coefficients())
def test_a_model_comes_back_to_the_bit(model, folder):
    """Factors and coefficients alike."""
    content, encoding = pack_model(model)
    write_bytes(folder / "model", content)

    same(model, unpack_model(folder / "model", encoding))


@given(content=st.binary(max_size=200))
def test_garbage_raises_nothing_but_update_error(content, folder):
    """Random bytes are a message or an UpdateError, whether in a message or in a blob."""
    (folder / "garbage").write_bytes(content)
    for read in (
        lambda: unpack_update(content, "north", ""),
        lambda: unpack_assignment(content, "north", ""),
        lambda: update_blob(content),
        lambda: unpack_model(folder / "garbage", "coefficients"),
        lambda: unpack_model(folder / "garbage", "safetensors"),
    ):
        with contextlib.suppress(UpdateError):
            read()


@given(at=st.integers(0, 200), byte=st.integers(0, 255), update=UPDATES)
def test_one_wrong_byte_raises_nothing_but_update_error(at, byte, update, folder):
    """A byte that flipped on the way gives another well-formed update, or an UpdateError."""
    packed = pack_update(update, "run")
    for broken in (packed.message, packed.joined or b"-"):
        content = bytearray(broken)
        content[at % len(content)] = byte
        message, rest = packed.message, packed.content
        if broken is packed.message:
            message = bytes(content)
        else:
            rest = Content((bytes(content),))
        changed = Packed(message, rest)

        with contextlib.suppress(UpdateError):
            unpacked(changed, folder)


@given(cut=st.integers(0, 200))
def test_a_torn_update_raises_nothing_but_update_error(cut, folder):
    """A blob that lacks its end is refused."""
    packed = pack_update(ONE, "run")
    torn = replace(packed, content=Content((packed.joined[: min(cut, len(packed.joined) - 1)],)))

    with pytest.raises(UpdateError):
        unpacked(torn, folder)


@pytest.mark.parametrize("dtype", ["F64", "BF16", "F8_E4M3", "I64"])
def test_tensors_of_another_type_are_refused(dtype, folder):
    """float32 only, also where numpy has no name for the type."""
    size = {"F64": 8, "BF16": 2, "F8_E4M3": 1, "I64": 8}[dtype]
    header = json.dumps({"m": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}).encode()
    packed = struct.pack("<Q", len(header)) + header + bytes(size)

    with pytest.raises(UpdateError, match="float32"):
        unpacked(replace(pack_update(ONE, "run"), content=Content((packed,))), folder)


def test_a_message_can_be_read_before_its_tensors():
    """Who sent how much is known without the blob."""
    update = unpack_update(pack_update(ONE, "run").message, "north", "run")

    assert (update.round, update.examples) == (ONE.round, ONE.examples)
    assert update.payload == LoraUpdate({})


def test_the_client_is_not_in_the_message():
    """Who sent it is an argument: the certificate's name, and nothing that the sender wrote."""
    message = pack_update(STEPS, "run").message

    assert b"north" not in message
    assert unpack_update(message, "south", "run").client == "south"


def test_another_runs_update_is_refused():
    """An update belongs to one run."""
    with pytest.raises(UpdateError, match="expected one of run 'other'"):
        unpack_update(pack_update(STEPS, "run").message, "north", "other")


def test_too_many_bytes_are_refused_before_parsing():
    """The limit is on the bytes received."""
    with pytest.raises(UpdateError, match="4194304 at most"):
        unpack_update(bytes((4 << 20) + 1), "north", "run")


def test_too_many_metrics_are_refused():
    """A client cannot fill the journal with metrics."""
    many = replace(STEPS, metrics={str(i): 0.0 for i in range(65)})

    with pytest.raises(UpdateError, match="65 metrics"):
        unpack_update(pack_update(many, "run").message, "north", "run")


def test_a_metric_with_a_giant_name_is_refused():
    """Nor with their names."""
    long = replace(STEPS, metrics={"x" * 65: 0.0})

    with pytest.raises(UpdateError, match="longer than 64"):
        unpack_update(pack_update(long, "run").message, "north", "run")


def test_two_hundred_steps_take_less_than_two_kilobytes():
    """FedKSeed's round: 200 steps of 4,096 seeds."""
    rng = np.random.default_rng(0)
    steps = Scalars(rng.integers(0, 4096, 200).astype(np.uint32), rng.normal(size=200).astype("f4"))
    update = Update("north", 7, 1000, 200, steps, {"loss": 0.7, "seconds": 12.5})

    assert pack_update(update, "run-1").size < 2000


def test_all_coefficients_take_four_bytes_each():
    """Where every seed was used, no index is sent."""
    rng = np.random.default_rng(0)
    model = SeedCoefficients(
        4096, np.arange(4096, dtype=np.uint32), rng.normal(size=4096).astype("f4")
    )

    assert pack_model(model)[0].size < 4 * 4096 + 20


@pytest.mark.parametrize(
    "broken",
    [
        {"num_seeds": 4, "index_gap": [1, 0], "value": [1, 2]},
        {"num_seeds": 4, "index_gap": [4], "value": [1]},
        {"num_seeds": 4, "index_gap": [2**32 - 1, 2**32 - 1], "value": [1, 1]},
        {"num_seeds": 4, "index_gap": [1], "value": []},
        {"num_seeds": 4, "probability": [0.5]},
        {"num_seeds": 0},
    ],
)
def test_coefficients_that_do_not_fit_are_refused(broken, folder):
    """Indices that do not rise, lie beyond K, or lack their values; half of the probabilities."""
    (folder / "model").write_bytes(update_pb2.SeedCoefficients(**broken).SerializeToString())

    with pytest.raises(UpdateError, match="K = "):
        unpack_model(folder / "model", "coefficients")


def test_a_packed_model_is_no_larger_than_expected(folder):
    """A message of a few bytes cannot make a client hold more numbers than its own adapter has."""
    shapes = {"m": (1 << 15, 1 << 15)}
    content, encoding = pack_model(CodedModel(CodecChoice("ecdq"), shapes, b""))
    write_bytes(folder / "model", content)

    with pytest.raises(UpdateError, match="1073741824 numbers, expected 100 at most"):
        unpack_model(folder / "model", encoding, 100)
