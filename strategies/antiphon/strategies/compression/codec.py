"""How an update's tensors are packed into bytes: the value that every codec is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from antiphon.core.types import FloatArray, Params

Shapes = Mapping[str, tuple[int, ...]]
"""The manifest of a round: the shape of each tensor by name."""


@dataclass(frozen=True)
class Codec:
    """One way of packing tensors. Pure functions.

    biased: E[decode(encode(x))] ≠ x, so the sender must keep an error-feedback residual;
    summable: codes can be summed under a mask (the same grid for all senders, no index sets), as
    secure aggregation needs.
    encode(tensors, rng) → bytes: the tensors are visited in sorted order; deterministic given rng;
    raises UpdateError for NaN and Inf. decode(content, shapes) → tensors: raises UpdateError for
    anything malformed, before it allocates more than a small multiple of the manifest's size.
    bits(parameters): bits per parameter that encode will need, header included; an upper estimate.
    """

    biased: bool
    summable: bool
    encode: Callable[[Params, np.random.Generator], bytes]
    decode: Callable[[bytes, Shapes], dict[str, FloatArray]]
    bits: Callable[[int], float]
