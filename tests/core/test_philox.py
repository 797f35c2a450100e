"""Philox4x32-10 against the vectors that its authors published with Random123."""

import numpy as np
import pytest

from antiphon.core.philox import philox4x32

ALL_ONES = 0xFFFFFFFF
PUBLISHED = [
    ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((ALL_ONES,) * 4, (ALL_ONES << 32) | ALL_ONES, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0x299F31D0 << 32) | 0xA4093822,
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_published_vectors(counter, key, expected):
    """The words are those of the known-answer tests."""
    counters = [np.array([word], dtype=np.uint64) for word in counter]

    words = philox4x32(*counters, key)[0]

    assert " ".join(f"{word:08x}" for word in words) == expected


def test_chunks_do_not_show():
    """A counter gives the same words alone and within a call of many chunks."""
    block = np.arange(20_000, dtype=np.uint64)
    zero = np.zeros_like(block)

    together = philox4x32(block, zero, zero, zero, 5)

    alone = philox4x32(block[17_001:17_002], zero[:1], zero[:1], zero[:1], 5)
    assert (together[17_001] == alone[0]).all()
