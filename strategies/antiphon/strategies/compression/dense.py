"""Tensors as they are: safetensors of float32."""

from __future__ import annotations

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.tensors import from_bytes, to_bytes
from antiphon.core.types import FloatArray, Params
from antiphon.strategies.compression.codec import Codec, Shapes

_HEADER_BITS = 8 * 1024


def float32() -> Codec:
    """Send every number as it is, 32 bits each."""
    return Codec(
        biased=False,
        summable=True,
        encode=_encode,
        decode=_decode,
        bits=lambda parameters: 32.0 + _HEADER_BITS / max(1, parameters),
    )


def _encode(tensors: Params, rng: np.random.Generator) -> bytes:
    _expect_finite(tensors)
    return to_bytes(tensors)


def _decode(content: bytes, shapes: Shapes) -> dict[str, FloatArray]:
    tensors = from_bytes(content)
    got = {name: tensor.shape for name, tensor in tensors.items()}
    if got != dict(shapes) or any(tensor.dtype != np.float32 for tensor in tensors.values()):
        raise UpdateError("float32 tensors of other names, shapes or dtypes than the round's")
    exact = {name: tensors[name].astype(np.float32, copy=False) for name in sorted(tensors)}
    _expect_finite(exact)
    return exact


def _expect_finite(tensors: Params) -> None:
    for name in sorted(tensors):
        if not np.isfinite(tensors[name]).all():
            raise UpdateError(f"{name} holds NaN or Inf, expected an update of finite numbers")
