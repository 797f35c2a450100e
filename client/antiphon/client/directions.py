"""The directions of `antiphon.core.directions` as torch tensors: the same bits on a CPU and on a GPU.

torch has no full set of unsigned operations, so the 32-bit words live in int64, where products wrap
modulo 2^64 and a shift followed by a mask is a logical shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from antiphon.core import directions as reference
from antiphon.core.directions import BITS_PER_BLOCK, NORMALS_PER_BLOCK, factor_names, tensor_id
from antiphon.core.philox import MASK, MULTIPLIERS, round_keys

# A chunk's int64 lanes stay in cache; on a GPU the whole tensor is one launch per operation.
_CPU_CHUNK = 16384
_SIGN_BIT = -(2**31)


def philox4x32(
    block: torch.Tensor, seed: torch.Tensor, name_id: tuple[torch.Tensor, torch.Tensor], key: int
) -> torch.Tensor:
    """Return words (n, 4), int32 holding the 32 random bits, of int64 counters of shape (n,)."""
    out = torch.empty(len(block), 4, dtype=torch.int32, device=block.device)
    keys = round_keys(key)
    size = _CPU_CHUNK if block.device.type == "cpu" else max(1, len(block))
    for start in range(0, len(block), size):
        part = slice(start, start + size)
        counters = (block[part], seed[part], name_id[0][part], name_id[1][part])
        for column, words in enumerate(_ten_rounds(counters, keys)):
            out[part, column] = words.to(torch.int32)
    return out


def _ten_rounds(
    counters: Sequence[torch.Tensor], keys: Sequence[tuple[int, int]]
) -> tuple[torch.Tensor, ...]:
    x0, x1, x2, x3 = (counter.clone() for counter in counters)
    for k0, k1 in keys:
        product0, product1 = x0.mul_(MULTIPLIERS[0]), x2.mul_(MULTIPLIERS[1])
        low0, low1 = product0 & MASK, product1 & MASK
        high0 = product0.bitwise_right_shift_(32).bitwise_and_(MASK)
        high1 = product1.bitwise_right_shift_(32).bitwise_and_(MASK)
        new0, new2 = (
            high1.bitwise_xor_(x1).bitwise_xor_(k0),
            high0.bitwise_xor_(x3).bitwise_xor_(k1),
        )
        x0, x1, x2, x3 = new0, low1, new2, low0
    return x0, x1, x2, x3


def words(
    key: int, seed: int, name: str, first_block: int, blocks: int, device: torch.device
) -> torch.Tensor:
    """Return the int32 words (blocks, 4) of one stream, from `first_block` on."""
    identity = tensor_id(name)
    block = torch.arange(first_block, first_block + blocks, device=device)
    full = [torch.full_like(block, value) for value in (seed, identity & MASK, identity >> 32)]
    return philox4x32(block, full[0], (full[1], full[2]), key)


def signs(random: torch.Tensor, magnitude: float = 1.0) -> torch.Tensor:
    """Return float32 ±magnitude, 32 per word: the sign bit is put in place, nothing is multiplied.

    random: int32 words of any shape; the result is flat, in stream order.
    """
    pattern = int(torch.tensor(magnitude, dtype=torch.float32).view(torch.int32))
    left = torch.arange(31, -1, -1, dtype=torch.int32, device=random.device)
    lanes = torch.bitwise_left_shift(random.bitwise_not().reshape(-1, 1), left)
    return lanes.bitwise_and_(_SIGN_BIT).bitwise_or_(pattern).view(torch.float32).reshape(-1)


def dense(
    kind: str, key: int, seed: int, name: str, start: int, count: int, device: torch.device
) -> torch.Tensor:
    """Return elements start … start+count of a `rademacher` or `gaussian` direction, float32 (count,)."""
    per_block = BITS_PER_BLOCK if kind == "rademacher" else NORMALS_PER_BLOCK
    first, skip = divmod(start, per_block)
    random = words(key, seed, name, first, -(-(skip + count) // per_block), device)
    drawn = signs(random) if kind == "rademacher" else _normals(random)
    return drawn[skip : skip + count]


def _normals(random: torch.Tensor) -> torch.Tensor:
    table = torch.from_numpy(reference.quantile_table()).to(random.device)
    low = random.bitwise_and(0xFFFF)
    high = random.bitwise_right_shift(16).bitwise_and_(0xFFFF)
    return table[torch.stack([low, high], dim=-1).reshape(-1)]


class LowRankStreams:
    """Draws the low-rank directions of all matrices of a model in one pass of the generator.

    shapes: name → (m, n). The counters of every tensor lie side by side, so that a step costs one call
    however many matrices there are.
    """

    def __init__(
        self, shapes: dict[str, tuple[int, int]], rank: int, key: int, device: torch.device
    ) -> None:
        """Lay out the counters; draws nothing."""
        self.rank, self._key, self._device = rank, key, device
        self._spans: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}
        blocks: list[torch.Tensor] = []
        identities: list[int] = []
        offset = 0
        for name, shape in shapes.items():
            spans = []
            for side, size in zip(factor_names(name), shape, strict=True):
                count = -(-size * rank // BITS_PER_BLOCK)
                blocks.append(torch.arange(count, device=device))
                identities += [tensor_id(side)] * count
                spans.append((offset * BITS_PER_BLOCK, size))
                offset += count
            self._spans[name] = (spans[0], spans[1])
        self._blocks = torch.cat(blocks)
        halves = [[i & MASK for i in identities], [i >> 32 for i in identities]]
        self._low, self._high = (torch.tensor(half, device=device) for half in halves)

    def draw(self, seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return name → (u (m, r), v (n, r)), float32 signs; the direction is u vᵀ / √r."""
        seeds = torch.full_like(self._blocks, seed)
        flat = signs(philox4x32(self._blocks, seeds, (self._low, self._high), self._key))
        return {
            name: (self._cut(flat, u), self._cut(flat, v)) for name, (u, v) in self._spans.items()
        }

    def _cut(self, flat: torch.Tensor, span: tuple[int, int]) -> torch.Tensor:
        start, size = span
        return flat[start : start + size * self.rank].view(size, self.rank)


def low_rank_of_seeds(
    key: int, seeds: torch.Tensor, name: str, shape: tuple[int, int], rank: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one matrix's signs for many seeds at once: u (m, seeds·rank), v (n, seeds·rank)."""
    u, v = (
        _signs_of_seeds(key, seeds, side, size, rank)
        for side, size in zip(factor_names(name), shape, strict=True)
    )
    return u, v


def _signs_of_seeds(key: int, seeds: torch.Tensor, side: str, size: int, rank: int) -> torch.Tensor:
    blocks = math.ceil(size * rank / BITS_PER_BLOCK)
    block = torch.arange(blocks, device=seeds.device).repeat(len(seeds))
    seed = seeds.to(torch.int64).repeat_interleave(blocks)
    identity = tensor_id(side)
    low, high = (torch.full_like(block, half) for half in (identity & MASK, identity >> 32))
    flat = signs(philox4x32(block, seed, (low, high), key)).view(len(seeds), -1)
    return flat[:, : size * rank].view(len(seeds), size, rank).transpose(0, 1).reshape(size, -1)
