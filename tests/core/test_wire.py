"""The wire form: round trips to the bit, and nothing but UpdateError for anything broken."""

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.errors import UpdateError
from antiphon.core.types import Assignment, LoraUpdate, Scalars, Update
from antiphon.core.wire import pack_assignment, pack_update, unpack_assignment, unpack_update
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
)
ONE = Update("north", 3, 120, 20, LoraUpdate({"m": np.ones((2, 3), np.float32)}), {"loss": 0.5})


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


def unpacked(content):
    """Unpack as the coordinator does."""
    return unpack_update(content, "north", "run")


@given(update=UPDATES)
def test_an_update_comes_back_to_the_bit(update):
    """Tensors, scalars, counts and metrics, NaN and all."""
    same(update, unpacked(pack_update(update, "run")))


@given(assignment=ASSIGNMENTS, download=TENSORS | coefficients())
def test_an_assignment_comes_back_to_the_bit(assignment, download):
    """Every field, with either kind of model to start from."""
    content = pack_assignment(assignment, download, "run")

    got, model = unpack_assignment(content, "north", "run")

    assert got == assignment
    same(download, model)


@given(content=st.binary(max_size=200))
def test_garbage_raises_nothing_but_update_error(content):
    """Random bytes are an update or an UpdateError."""
    for unpack in (unpack_update, unpack_assignment):
        with contextlib.suppress(UpdateError):
            unpack(content, "north", "")


@given(at=st.integers(0, 200), byte=st.integers(0, 255), update=UPDATES)
def test_one_wrong_byte_raises_nothing_but_update_error(at, byte, update):
    """A byte that flipped on the way gives another well-formed update, or an UpdateError."""
    content = bytearray(pack_update(update, "run"))
    content[at % len(content)] = byte

    with contextlib.suppress(UpdateError):
        unpacked(bytes(content))


@given(cut=st.integers(0, 100))
def test_a_torn_update_raises_nothing_but_update_error(cut):
    """Any prefix of an update that lacks its end is refused."""
    content = pack_update(ONE, "run")

    with pytest.raises(UpdateError):
        unpacked(content[: min(cut, len(content) - 1)])


@pytest.mark.parametrize("dtype", ["F64", "BF16", "F8_E4M3", "I64"])
def test_tensors_of_another_type_are_refused(dtype):
    """float32 only, also where numpy has no name for the type."""
    size = {"F64": 8, "BF16": 2, "F8_E4M3": 1, "I64": 8}[dtype]
    header = json.dumps({"m": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}).encode()
    packed = struct.pack("<Q", len(header)) + header + bytes(size)
    message = update_pb2.Update(run_id="run", safetensors=packed)

    with pytest.raises(UpdateError):
        unpacked(message.SerializeToString())


def test_the_client_is_not_in_the_message():
    """Who sent it is an argument: the certificate's name, and nothing that the sender wrote."""
    content = pack_update(ONE, "run")

    assert b"north" not in content
    assert unpack_update(content, "south", "run").client == "south"


def test_another_runs_update_is_refused():
    """An update belongs to one run."""
    with pytest.raises(UpdateError, match="expected one of run 'other'"):
        unpack_update(pack_update(ONE, "run"), "north", "other")


def test_too_many_bytes_are_refused_before_parsing():
    """The limit is on the bytes received."""
    with pytest.raises(UpdateError, match="10 at most"):
        unpack_update(pack_update(ONE, "run"), "north", "run", max_bytes=10)


def test_too_many_metrics_are_refused():
    """A client cannot fill the journal with metrics."""
    many = Update("north", 1, 1, 1, ONE.payload, {str(i): 0.0 for i in range(65)})

    with pytest.raises(UpdateError, match="65 metrics"):
        unpacked(pack_update(many, "run"))


def test_two_hundred_steps_take_less_than_two_kilobytes():
    """FedKSeed's round: 200 steps of 4,096 seeds."""
    rng = np.random.default_rng(0)
    steps = Scalars(rng.integers(0, 4096, 200).astype(np.uint32), rng.normal(size=200).astype("f4"))
    update = Update("north", 7, 1000, 200, steps, {"loss": 0.7, "seconds": 12.5})

    assert len(pack_update(update, "run-1")) < 2000


def test_all_coefficients_take_four_bytes_each():
    """Where every seed was used, no index is sent."""
    rng = np.random.default_rng(0)
    model = SeedCoefficients(
        4096, np.arange(4096, dtype=np.uint32), rng.normal(size=4096).astype("f4")
    )
    asked = Assignment(7, "north", "seeds", 200, 0, 0, 1e-5, 8, 1)

    assert len(pack_assignment(asked, model, "run-1")) < 4 * 4096 + 100


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
def test_coefficients_that_do_not_fit_are_refused(broken):
    """Indices that do not rise, lie beyond K, or lack their values; half of the probabilities."""
    message = update_pb2.Assignment(run_id="run", coefficients=broken)

    with pytest.raises(UpdateError, match="K = "):
        unpack_assignment(message.SerializeToString(), "north", "run")
