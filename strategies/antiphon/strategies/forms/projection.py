"""Form `projection`: a delta along seeded directions (Ferret, Shu et al., ICML 2025, arXiv 2409.06277).

Of a delta Δ of d numbers, K travel: c_k = ⟨Δ, z_k⟩. With E[z zᵀ] = 1 the estimate Δ̂ = Σ_k c_k z_k / K is
unbiased, with the cosine √(K / (K + d)) to Δ and √(1 + (d − 1) / K) times its length. They are new for
each client and round, so that a mean over clients and rounds leaves less of the noise, and no subspace is
the only one. Each matrix of a direction is u vᵀ of random signs: inner products and sums are two matrix
products.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from antiphon.core import directions
from antiphon.core.config import RunConfig
from antiphon.core.directions import run_key
from antiphon.core.errors import UpdateError
from antiphon.core.types import Assignment, FloatArray, Package, Update
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.by_name import ByName
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.forms.form import Arrived, Form

Seeds = npt.NDArray[np.uint32]

_KIND, _NAME = "projection", "value"
_FLOAT_BYTES = 4
_SEEDS_AT_ONCE = 512


def projection(*, config: RunConfig) -> Form:
    """The delta on K seeded directions, K numbers; its keys are those of `projection`."""
    count, key = config.projection.directions, run_key(config.seed)

    def size(numbers: int, codec: Codec | None, steps: int) -> float:
        return _FLOAT_BYTES * count

    def check(update: Update, assignment: Assignment) -> None:
        value = update.payload.arrays.get(_NAME)
        if set(update.payload.arrays) != {_NAME} or value is None or value.dtype != np.float32:
            raise UpdateError(
                f"client {update.client} sent {sorted(update.payload.arrays)[:4]}, expected float32 {_NAME}"
            )
        if value.shape != (count,) or not np.isfinite(value).all():
            raise UpdateError(
                f"client {update.client} sent {value.shape} numbers, expected {count} that are finite"
            )

    def delta(arrived: Arrived) -> Tensors:
        update, start = arrived.update, arrived.start
        value = update.payload.arrays[_NAME].astype(np.float32)
        seeds = seeds_of(update.client, update.round, count)
        return ByName(start, lambda name: _rebuilt(key, seeds, name, start[name].shape, value))

    return Form(
        _KIND,
        packs=False,
        walks=False,
        says="how far the change goes along seeded directions",
        size=size,
        check=check,
        delta=delta,
    )


def projected(delta: Tensors, client: str, number: int, config: RunConfig) -> Package:
    """Return what a client sends of a delta of round `number`."""
    count, key = config.projection.directions, run_key(config.seed)
    seeds, reach = seeds_of(client, number, count), np.zeros(count)
    for name in sorted(delta):
        rows, columns = delta[name].shape
        for part, u, v in _drawn(key, seeds, name, (rows, columns)):
            reach[part] += np.einsum("kj,kj->k", u @ delta[name], v, dtype=np.float64)
    return Package(_KIND, {_NAME: reach.astype(np.float32)})


def seeds_of(client: str, number: int, count: int) -> Seeds:
    """Return the seeds of the directions of one client and round, uint32 (count,)."""
    first = hashlib.sha256(f"{number} {client}".encode()).digest()[:4]
    begin = np.uint64(int.from_bytes(first, "little"))
    return (begin + np.arange(count, dtype=np.uint64)).astype(np.uint32)  # modulo 2^32


def _rebuilt(
    key: int, seeds: Seeds, name: str, shape: tuple[int, int], value: FloatArray
) -> FloatArray:
    """Return Σ_k c_k z_k / K of one tensor."""
    total: FloatArray = np.zeros(shape, np.float32)
    for part, u, v in _drawn(key, seeds, name, shape):
        total += u.T @ (v * (value[part, None] / np.float32(len(seeds))))
    return total


def _drawn(
    key: int, seeds: Seeds, name: str, shape: tuple[int, int]
) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Yield u (seeds, rows) and v (seeds, columns) of a part of the directions at a time."""
    for start in range(0, len(seeds), _SEEDS_AT_ONCE):
        part = slice(start, start + _SEEDS_AT_ONCE)
        u, v = directions.low_rank(key, seeds[part], f"{name}#projection", shape, 1)
        yield part, u[..., 0], v[..., 0]
