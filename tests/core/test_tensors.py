"""Tensors on disk and what is compared when they arrive."""

import os
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from antiphon.core.errors import UpdateError
from antiphon.core.tensors import (
    LazyTensors,
    check_against,
    from_bytes,
    to_bytes,
    to_content,
    write_tensors,
)

WANTED = {"a": np.zeros((2, 3), dtype=np.float32), "b": np.zeros(4, dtype=np.float32)}


def changed(**changes):
    return {**WANTED, **changes}


BAD = {
    "missing": ({"a": WANTED["a"]}, "missing \\['b'\\]"),
    "extra": (changed(c=WANTED["b"]), "not asked for \\['c'\\]"),
    "shape": (changed(b=np.zeros(5, dtype=np.float32)), r"b: got float32 \(5,\)"),
    "dtype": (changed(b=np.zeros(4)), "float64"),
    "nan": (changed(b=np.full(4, np.nan, dtype=np.float32)), "b holds NaN"),
    "inf": (changed(b=np.full(4, np.inf, dtype=np.float32)), "b holds NaN or Inf"),
    "norm": (changed(b=np.full(4, 100, dtype=np.float32)), "norm is 200"),
}


def test_bytes_round_trip():
    """Tensors come back with their dtypes, and equal tensors have equal bytes."""
    again = from_bytes(to_bytes(WANTED))

    assert {name: value.dtype for name, value in again.items()} == {"a": "float32", "b": "float32"}
    assert to_bytes(dict(reversed(WANTED.items()))) == to_bytes(WANTED)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80" * 64])
def test_other_bytes_are_refused(content):
    """What is no safetensors file is an UpdateError, whatever it is."""
    with pytest.raises(UpdateError, match="not safetensors"):
        from_bytes(content)


@pytest.mark.parametrize("kind", BAD)
def test_what_was_not_asked_for_is_refused(kind):
    """Names, shapes, dtypes, finite values and the norm are compared, and the difference named."""
    received, message = BAD[kind]

    with pytest.raises(UpdateError, match=message):
        check_against(WANTED, received, max_norm=10)


def test_what_was_asked_for_passes():
    """A tensor set of the right form is accepted."""
    check_against(WANTED, changed(b=np.ones(4, dtype=np.float32)), max_norm=10)


def test_lazy_tensors_read_one_at_a_time(tmp_path):
    """A file is a mapping whose values are read when they are asked for."""
    write_tensors(tmp_path / "t.safetensors", changed(b=np.ones(4, dtype=np.float32)))

    lazy = LazyTensors(tmp_path / "t.safetensors")

    assert list(lazy) == ["a", "b"]
    assert lazy["b"].tolist() == [1, 1, 1, 1]
    with pytest.raises(KeyError):
        lazy["c"]


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
            lambda name: name != "__metadata__"
        ),
        st.lists(st.integers(0, 3), max_size=3),
        max_size=5,
    )
)
def test_the_bytes_are_those_of_the_safetensors_library(shapes):
    """Any names and shapes of float32, tensors without elements among them."""
    tensors = {name: np.full(shape, 1.5, np.float32) for name, shape in shapes.items()}

    assert to_content(tensors).joined() == save(tensors)


def test_float32_tensors_are_not_copied():
    """What is written and hashed is the tensors' own memory, behind a header."""
    tensor = np.zeros((64, 64), np.float32)

    _, part = to_content({"m": tensor}).parts

    assert np.shares_memory(np.frombuffer(part, np.uint8), tensor)


def test_a_file_that_was_cut_while_it_was_read_is_said(tmp_path):
    """Whoever looks a tensor up hears of it, instead of getting what was in memory."""
    write_tensors(tmp_path / "t", {"m": np.ones((256, 256), np.float32)})
    lazy = LazyTensors(tmp_path / "t")
    os.truncate(tmp_path / "t", 1000)

    with pytest.raises(UpdateError, match="too short"):
        lazy["m"]


@given(
    st.lists(st.lists(st.integers(0, 40), max_size=3), min_size=1, max_size=6),
    st.integers(0, 4000),
    st.integers(0, 8000),
)
def test_passing_tensors_are_those_of_the_file(shapes, window, small):
    """Each once, whatever fits into one window: several, one, or not even one; small files as a whole."""
    rng = np.random.default_rng(0)
    tensors = {f"t{i}": rng.random(shape, np.float32) for i, shape in enumerate(shapes)}
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.core.tensors._WINDOW_BYTES", window)
        patch.setattr("antiphon.core.tensors._SMALL_BYTES", small)
        write_tensors(Path(folder) / "t", tensors)

        passed = {name: each.copy() for name, each in LazyTensors(Path(folder) / "t").passing()}

    assert list(passed) == list(tensors)
    assert all(np.array_equal(passed[name], tensors[name]) for name in tensors)
    assert all(passed[name].shape == tensors[name].shape for name in tensors)


def test_a_giant_tensor_set_is_compared_in_little_memory(tmp_path):
    """A file of 64 MB is compared in a window of one."""
    rows = {f"t{i:02d}": np.ones((512, 512), np.float32) for i in range(64)}
    write_tensors(tmp_path / "t", rows)
    received = LazyTensors(tmp_path / "t")
    tracemalloc.start()

    check_against(rows, received)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20
