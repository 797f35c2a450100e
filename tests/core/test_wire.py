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
from tests.strategies.served import sent, walk

from antiphon.core.blob import Blob, ModelChange, blob_of
from antiphon.core.coefficients import SeedCoefficients, as_package, coefficients_of
from antiphon.core.content import Content
from antiphon.core.errors import UpdateError
from antiphon.core.files import write_bytes
from antiphon.core.inline_arrays import pack_arrays, unpack_arrays
from antiphon.core.tensors import LazyTensors
from antiphon.core.types import Assignment, CodecChoice, Package, Update
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
    lambda steps: walk([index for index, _ in steps], [value for _, value in steps])
)
NAMES = st.text(st.characters(codec="ascii"), min_size=1)
WHOLE = hnp.arrays(np.uint32, hnp.array_shapes(max_dims=2, max_side=4, min_side=1))
ARRAYS = st.dictionaries(NAMES, FLOATS | WHOLE, max_size=4)
UPDATES = st.builds(
    Update,
    client=st.just("north"),
    round=UINT32,
    examples=st.integers(0, 2**64 - 1),
    steps=UINT32,
    payload=SCALARS | TENSORS.map(sent),
    metrics=st.dictionaries(st.text(max_size=8), st.floats(), max_size=4),
)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
BLOBS = st.builds(
    Blob,
    sha256=HASHES,
    bytes=st.integers(0, 2**64 - 1),
    encoding=st.text(max_size=12),
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
    change=st.none() | st.just(ModelChange()) | st.builds(ModelChange, HASHES, BLOBS),
)
ONE = Update("north", 3, 120, 20, sent({"m": np.ones((2, 3), np.float32)}), {"loss": 0.5})
PLAIN = Assignment(1, "north", "lora", 1, 0, 1, 0.0, 8, 0)
STEPS = replace(ONE, payload=walk([3], [0.5]))


@st.composite
def coefficients(draw: st.DrawFn) -> Package:
    """Any coefficients of up to nine seeds."""
    num_seeds = draw(st.integers(1, 9))
    index = sorted(draw(st.sets(st.integers(0, num_seeds - 1))))
    value = draw(hnp.arrays(np.float32, len(index)))
    chances = draw(st.none() | hnp.arrays(np.float32, num_seeds))
    sent = SeedCoefficients(num_seeds, np.array(index, np.uint32), value, chances)
    return as_package("", sent)


def same(one, other):
    """Equal to the bit: arrays, mappings of arrays, floats that may be NaN."""
    np.testing.assert_equal(vars_of(other), vars_of(one))


def vars_of(value):
    """A dataclass as plain nested dictionaries of bytes and dtypes."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str if value.size else "", value.shape, value.tobytes())
    if isinstance(value, dict):
        return {name: vars_of(each) for name, each in value.items()}
    return vars_of(vars(value)) if hasattr(value, "__dataclass_fields__") else value


def packed_as_its_form(update):
    """Tensors beside the message, a walk in it."""
    inline = update.payload.form == "scalars"
    return pack_update(update, "run", **({"pack": None} if inline else {}))


def unpacked(packed, folder):
    """Unpack as the coordinator does: the blob lies in a file."""
    tensors = None
    if packed.content is not None:
        file = folder / "blob"
        file.write_bytes(packed.joined)
        tensors = LazyTensors(file)
    update = unpack_update(packed.message, "north", "run", tensors)
    return replace(update, payload=Package(update.payload.form, dict(update.payload.arrays)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that one file after the other is written into."""
    return tmp_path_factory.mktemp("wire")


@given(update=UPDATES)
def test_an_update_comes_back_to_the_bit(update, folder):
    """Tensors, scalars, counts and metrics, NaN and all."""
    packed = packed_as_its_form(update)

    same(update, unpacked(packed, folder))
    assert round_of(packed.message) == update.round


@given(arrays=ARRAYS)
def test_arrays_inside_a_message_come_back_to_the_bit(arrays):
    """Names, shapes, dtypes and values; only what is empty forgets its dtype."""
    back = unpack_arrays(pack_arrays(arrays), 10_000)

    full = {name: each for name, each in arrays.items() if each.size}
    same(full, {name: back[name] for name in full})
    assert {name: each.shape for name, each in back.items()} == {
        name: each.shape for name, each in arrays.items()
    }


@given(rising=st.sets(UINT32, min_size=2, max_size=9))
def test_numbers_that_rise_cost_their_differences(rising):
    """Seeds close together are a byte each."""
    index = np.array(sorted(rising), np.uint32)

    message = pack_arrays({"index": index})

    assert list(message.array[0].gap) == np.diff(index.astype(int), prepend=0).tolist()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        ({"gap": [1, 0]}, "does not rise"),
        ({"gap": [2**32 - 1, 2**32 - 1]}, "does not rise"),
        ({"whole": [1], "real": [0.5]}, "more than one dtype"),
        ({"real": [0.5], "side": [2]}, "1 numbers for the sides"),
        ({"real": [0.5] * 101}, "101 numbers, expected 100 at most"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(array, reason):
    """Whatever a sender writes, the receiver holds no more than was sent."""
    message = update_pb2.Arrays(array=[update_pb2.Array(name="a", **array)])

    with pytest.raises(UpdateError, match=reason):
        unpack_arrays(message, 100)


def test_what_version_0_3_sent_of_scalars_is_refused_with_a_sentence():
    """The sender learns that it is too old."""
    old = update_pb2.Update(run_id="run", round=1, scalars=update_pb2.SeedScalars(index=[3]))

    with pytest.raises(UpdateError, match=r"version 0\.3"):
        unpack_update(old.SerializeToString(), "north", "run")


@given(delta=TENSORS)
def test_an_update_names_its_tensors(delta):
    """The blob is named by size and SHA-256; scalars need none."""
    packed = pack_update(Update("north", 1, 1, 1, sent(delta)), "run")

    assert update_blob(packed.message) == blob_of(packed.content, "safetensors")


@given(assignment=ASSIGNMENTS, model=BLOBS)
def test_an_assignment_comes_back_to_the_bit(assignment, model):
    """Every field, and the model's name."""
    message = pack_assignment(assignment, model, "run")

    assert unpack_assignment(message, "north", "run") == (assignment, model)


@given(model=TENSORS.map(lambda tensors: Package("", tensors)) | coefficients())
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
        lambda: unpack_model(folder / "garbage", "arrays"),
        lambda: unpack_model(folder / "garbage", "safetensors"),
    ):
        with contextlib.suppress(UpdateError):
            read()


@given(at=st.integers(0, 200), byte=st.integers(0, 255), update=UPDATES)
def test_one_wrong_byte_raises_nothing_but_update_error(at, byte, update, folder):
    """A byte that flipped on the way gives another well-formed update, or an UpdateError."""
    packed = packed_as_its_form(update)
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
    assert update.payload.arrays == {}


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
    steps = walk(rng.integers(0, 4096, 200), rng.normal(size=200))
    update = Update("north", 7, 1000, 200, steps, {"loss": 0.7, "seconds": 12.5})

    assert pack_update(update, "run-1", pack=None).size < 2000


def test_all_coefficients_take_four_bytes_each():
    """Where every seed was used, no index is sent."""
    rng = np.random.default_rng(0)
    model = SeedCoefficients(
        4096, np.arange(4096, dtype=np.uint32), rng.normal(size=4096).astype("f4")
    )

    assert pack_model(as_package("span", model))[0].size < 4 * 4096 + 20


@given(used=st.integers(0, 4096))
def test_coefficients_never_take_more_than_all_of_them(used):
    """Few travel with the gaps between them, nearly all with their zeros; either way they are the same."""
    rng = np.random.default_rng(used)
    index = np.sort(rng.permutation(4096)[:used]).astype(np.uint32)
    model = SeedCoefficients(4096, index, rng.normal(size=used).astype("f4"))

    package = as_package("span", model)

    assert pack_model(package)[0].size <= 4 * 4096 + 40
    assert np.array_equal(coefficients_of(package, 4096).index, index)
    assert np.array_equal(coefficients_of(package, 4096).value, model.value)


@pytest.mark.parametrize(
    "broken",
    [
        {"index": [1, 1], "value": [1, 2]},
        {"index": [4], "value": [1]},
        {"index": [1], "value": []},
        {"value": [1]},
        {"index": [1], "value": [1], "probability": [0.5]},
    ],
)
def test_coefficients_that_do_not_fit_are_refused(broken):
    """Indices that do not rise, lie beyond K, or lack their values; half of the probabilities."""
    dtypes = {"index": np.uint32, "value": np.float32, "probability": np.float32}
    arrays = {name: np.array(each, dtypes[name]) for name, each in broken.items()}

    with pytest.raises(UpdateError, match="K = 4"):
        coefficients_of(Package("", arrays), 4)


def test_a_packed_model_has_the_shapes_of_its_reader(folder):
    """A message of a few bytes cannot make a client hold more numbers than its own run trains."""
    content, encoding = pack_model(CodedModel(CodecChoice("ecdq"), b""))
    write_bytes(folder / "model", content)

    with pytest.raises(UpdateError, match="packed"):
        unpack_model(folder / "model", encoding)


@pytest.mark.parametrize("since", [b"", b"x", bytes(31), bytes(33)])
def test_a_change_since_no_model_is_refused(since):
    """A blob needs the hash of what it is added to."""
    model = Blob("ab" * 32, 1000, "safetensors")
    message = update_pb2.Assignment.FromString(pack_assignment(PLAIN, model, "run"))
    message.change.since = since
    message.change.blob.sha256 = bytes(32)

    with pytest.raises(UpdateError, match="change"):
        unpack_assignment(message.SerializeToString(), "north", "run")


def test_a_model_that_nothing_is_added_to_is_refused():
    """A hash needs a blob."""
    model = Blob("ab" * 32, 1000, "safetensors")
    message = update_pb2.Assignment.FromString(pack_assignment(PLAIN, model, "run"))
    message.change.since = bytes(32)

    with pytest.raises(UpdateError, match="change"):
        unpack_assignment(message.SerializeToString(), "north", "run")
