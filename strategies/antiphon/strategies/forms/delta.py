"""Form `delta`: the change of every trained number."""

from __future__ import annotations

from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.forms.form import Form


def delta() -> Form:
    """The change of each trained number, as tensors that a codec packs."""
    return Form(
        kind="delta",
        packs=True,
        walks=False,
        says="the change of every trained number",
        size=_size,
    )


def _size(numbers: int, codec: Codec | None, steps: int) -> float:
    if codec is None:
        raise ValueError("a delta is packed by a codec: name one, if only float32")
    return codec.bits(numbers) * numbers / 8
