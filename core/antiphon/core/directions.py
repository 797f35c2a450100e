"""Random directions addressed by (run key, seed, tensor, index), with random access.

A direction z of a tensor is a function: element i of direction `seed` of tensor `name` in the run with
`key`. Counter words of Philox: (block, seed, low and high half of the tensor's id); key: the run's.

* Rademacher: element i is bit i of the stream (least significant first), 1 → +1, 0 → −1.
* Gaussian: element i is the i-th 16-bit number of the stream through a table of normal quantiles.
  Table values are integers over 2^16, so no libm decides a bit; they end at ±4.2 and have unit variance.
* Low-rank, of an m×n matrix: z = u vᵀ / √r, u ∈ {±1}^{m×r}, v ∈ {±1}^{n×r} (row-major), each of them a
  Rademacher stream with a tensor id of its own. E[z zᵀ] is the identity, as for the dense kinds.
"""

from __future__ import annotations

import hashlib
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import AntiphonError
from antiphon.core.philox import MASK, Words, philox4x32
from antiphon.core.types import FloatArray

BITS_PER_BLOCK = 128
NORMALS_PER_BLOCK = 8
QUANTILE_SCALE = 2**16
_QUANTILES_SHA256 = "664ac76760a232cec689540a3e8564b6780f5ddf8f2c22ad0f294852c9950752"


def run_key(run_seed: int) -> int:
    """Return the 64-bit Philox key of a run."""
    return _first_64_bits(f"antiphon-run-{run_seed}")


def tensor_id(name: str) -> int:
    """Return the 64-bit id of a tensor: no two names of a model share a stream."""
    return _first_64_bits(f"antiphon-tensor-{name}")


def words(key: int, seed: int, name: str, first_block: int, blocks: int) -> Words:
    """Return blocks × 4 random words of one stream, from `first_block` on."""
    drawn: Words = words_of_seeds(key, np.array([seed]), name, first_block, blocks)[0]
    return drawn


def words_of_seeds(
    key: int, seeds: npt.NDArray[np.integer], name: str, first_block: int, blocks: int
) -> Words:
    """Return the words (seeds, blocks, 4) of one tensor's streams for many seeds at once."""
    count = len(seeds) * blocks
    block = np.tile(np.arange(first_block, first_block + blocks, dtype=np.uint64), len(seeds))
    seed = np.repeat(seeds.astype(np.uint64), blocks)
    identity = tensor_id(name)
    low = np.full(count, identity & MASK, dtype=np.uint64)
    high = np.full(count, identity >> 32, dtype=np.uint64)
    return philox4x32(block, seed, low, high, key).reshape(len(seeds), blocks, 4)


def signs_of_words(random: Words, count: int) -> FloatArray:
    """Return the first `count` Rademacher elements (..., count) of words (..., blocks, 4)."""
    octets = np.ascontiguousarray(random.astype("<u4")).view(np.uint8)
    octets = octets.reshape(*random.shape[:-2], -1)
    signs: FloatArray = np.unpackbits(octets, axis=-1, count=count, bitorder="little").astype(
        np.float32
    )
    signs *= 2
    signs -= 1
    return signs


def rademacher(key: int, seed: int, name: str, start: int, count: int) -> FloatArray:
    """Return elements start … start+count of a Rademacher direction, float32 ±1."""
    first, skip = divmod(start, BITS_PER_BLOCK)
    blocks = -(-(skip + count) // BITS_PER_BLOCK)
    return signs_of_words(words(key, seed, name, first, blocks), skip + count)[skip:]


def gaussian(key: int, seed: int, name: str, start: int, count: int) -> FloatArray:
    """Return elements start … start+count of a Gaussian direction, float32."""
    first, skip = divmod(start, NORMALS_PER_BLOCK)
    blocks = -(-(skip + count) // NORMALS_PER_BLOCK)
    random = words(key, seed, name, first, blocks)
    halves = np.ascontiguousarray(random.astype("<u4")).view("<u2").reshape(-1)
    drawn: FloatArray = quantile_table()[halves[skip : skip + count]]
    return drawn


def low_rank(
    key: int, seeds: npt.NDArray[np.integer], name: str, shape: tuple[int, int], rank: int
) -> tuple[FloatArray, FloatArray]:
    """Return the signs u (seeds, m, rank) and v (seeds, n, rank) of low-rank directions.

    The direction itself is u vᵀ / √rank.
    """
    u, v = (
        signs_of_words(
            words_of_seeds(key, seeds, side, 0, -(-size * rank // BITS_PER_BLOCK)), size * rank
        ).reshape(len(seeds), size, rank)
        for side, size in zip(factor_names(name), shape, strict=True)
    )
    return u, v


def factor_names(name: str) -> tuple[str, str]:
    """Return the stream names of the two factors of a low-rank direction of tensor `name`."""
    return f"{name}#u", f"{name}#v"


@cache
def quantile_table() -> FloatArray:
    """Return the 65,536 quantiles Φ⁻¹((i + ½) / 65536), scaled to unit variance, float32.

    Raises AntiphonError if this machine's logarithm rounds so differently that a value changed.
    """
    half = 2**15
    upper = [NormalDist().inv_cdf((half + i + 0.5) / (2 * half)) for i in range(half)]
    scale = (sum(q * q for q in upper) / half) ** -0.5
    integers = np.array([round(q * scale * QUANTILE_SCALE) for q in upper], dtype="<i4")
    digest = hashlib.sha256(integers.tobytes()).hexdigest()
    if digest != _QUANTILES_SHA256:
        raise AntiphonError(
            f"the table of normal quantiles hashes to {digest[:16]}…, expected "
            f"{_QUANTILES_SHA256[:16]}…: this machine's libm differs; use Rademacher or low-rank "
            "directions here"
        )
    table = np.concatenate([-integers[::-1], integers])
    return (table / np.float64(QUANTILE_SCALE)).astype(np.float32)


def _first_64_bits(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
