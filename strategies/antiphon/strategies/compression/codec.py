"""One way of packing tensors, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from antiphon.core.types import FloatArray, Params

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Codec:
    """Pure functions; tensors are visited in the order of their names.

    biased: the mean of what is decoded is not what was encoded, so the sender keeps what is left out
    (error_feedback.py); summable: codes of several senders can be summed under a mask, as secure
    aggregation does. encode(tensors, rng) → bytes; decode(content, shapes) → tensors, raises UpdateError
    for anything malformed, before it allocates more than a small multiple of the shapes' size;
    bits(parameters) → bits per parameter that `encode` will need, headers included.
    """

    biased: bool
    summable: bool
    encode: Callable[[Params, np.random.Generator], bytes]
    decode: Callable[[bytes, Shapes], dict[str, FloatArray]]
    bits: Callable[[int], float]
