from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antiphon.core.errors import UpdateError


@dataclass(frozen=True)
class Grid:
    reach: float
    bits: int
    members: int

    @property
    def top(self):
        return (1 << self.bits) - 1

    @property
    def step(self):
        return 2 * self.reach / self.top

    @property
    def modulus_bits(self) -> int:
        return (self.members * self.top).bit_length()

    def quantise(self, values, rng):
        if not np.isfinite(values).all():
            raise UpdateError("not finite")
        wide = np.clip(values.astype(np.float64), -self.reach, self.reach)
        scaled = (wide + self.reach) / self.step
        low = np.floor(scaled)
        made = low + (rng.random(len(scaled)) < scaled - low)
        return np.minimum(made, self.top).astype(np.uint64 if self.modulus_bits > 32 else np.uint32)

    def total(self, sum, count):
        if (sum > count * self.top).any():
            raise UpdateError("beyond")
        return sum.astype(np.float64) * self.step - count * self.reach
