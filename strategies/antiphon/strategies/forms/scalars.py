"""Form `scalars`: a walk along seeded directions, a seed and a number for each step."""

from __future__ import annotations

from antiphon.core.config import RunConfig
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.forms.form import Form

_FLOAT_BYTES = 4
_VARINT_BITS = 7


def scalars(*, config: RunConfig) -> Form:
    """A few bytes for each step, whatever the size of the space."""
    largest = max(1, config.seeds.num_seeds - 1)
    each = _FLOAT_BYTES + -(-largest.bit_length() // _VARINT_BITS)

    def size(numbers: int, codec: Codec | None, steps: int) -> float:
        return each * steps

    return Form(kind="scalars", packs=False, walks=True, size=size)
