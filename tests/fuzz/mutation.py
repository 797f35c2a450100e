"""Mutations of valid inputs, for machines on which no coverage-guided fuzzer can be installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from tests.fuzz.target import Target

_MOST_EDITS = 4
_TELLING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff" * 8,
    b"\0" * 8,
    b"\xff" * 9 + b"\x01",
    b'"',
    b"{",
)


def mutated(target: Target) -> st.SearchStrategy[bytes]:
    """Return a strategy: a valid input with a few edits."""
    return _edited(target.seeds(), (*_TELLING, *target.words))


@st.composite
def _edited(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, _MOST_EDITS))):
        content = _edit(draw, content, seeds, words)
    return content


def _edit(draw: st.DrawFn, content: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Replace a span by something: nothing, a few bytes, a word, a span of a valid input."""
    start, end = _span(draw, content)
    other = draw(st.sampled_from(seeds))
    first, last = _span(draw, other)
    something: st.SearchStrategy[Any] = st.one_of(
        st.binary(max_size=4), st.sampled_from(words), st.just(other[first:last])
    )
    new: bytes = draw(something)
    same_size = draw(st.booleans())
    return content[:start] + new + content[start + len(new) if same_size else end :]


def _span(draw: st.DrawFn, content: bytes) -> tuple[int, int]:
    start = draw(st.integers(0, len(content)))
    size = draw(st.integers(0, 16) | st.integers(0, len(content)))
    return start, min(len(content), start + size)
