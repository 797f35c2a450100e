"""A grid of numbers on which all clients of a round meet, so that a sum of whole numbers is their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.types import Float64Array, FloatArray

_MOST_BITS: Final = 40  # of a sum


@dataclass(frozen=True)
class Grid:
    """2^bits − 1 points from −reach to reach, zero among them; `members` of them add up without wrapping.

    Raises ConfigError for a grid whose sums have more bits than masks are made of.
    """

    reach: float
    bits: int
    members: int

    def __post_init__(self) -> None:
        """Look at the numbers."""
        sound = 0 < self.reach < float("inf") and self.bits >= 2 and self.members >= 1
        if not sound or self.modulus_bits > _MOST_BITS:
            raise ConfigError(
                f"a grid of {self.bits} bits to {self.reach:g} for {self.members} clients: expected a "
                f"finite reach above 0, and sums of {_MOST_BITS} bits at most"
            )

    @property
    def top(self) -> int:
        """The largest whole number of one client."""
        return (1 << self.bits) - 2

    @property
    def step(self) -> float:
        """What lies between two points."""
        return 2 * self.reach / self.top

    @property
    def modulus_bits(self) -> int:
        """Bits that the largest sum has."""
        return (self.members * self.top).bit_length()

    def quantise(self, values: FloatArray, rng: np.random.Generator) -> npt.NDArray[Any]:
        """Return numbers, (n,), as whole ones in 0 … top, uint32 or, for wide sums, uint64.

        What is beyond the reach is clipped; within it the expected value of each is the number itself.
        Raises UpdateError where one is not finite.
        """
        if not np.isfinite(values).all():
            raise UpdateError(
                "a number that is not finite lies on no grid: the training has diverged"
            )
        scaled = np.clip(values.astype(np.float64), -self.reach, self.reach)
        scaled /= self.step
        scaled += self.top // 2
        low = np.floor(scaled)
        low += rng.random(len(scaled)) < scaled - low
        return np.minimum(low, self.top).astype(np.uint64 if self.modulus_bits > 32 else np.uint32)

    def total(self, sums: npt.NDArray[Any], count: int) -> Float64Array:
        """Return what `count` clients' whole numbers, (n,), mean together.

        Raises UpdateError for one that no so many clients can have: their masks have not cancelled.
        """
        if len(sums) and int(sums.max()) > count * self.top:
            raise UpdateError(
                f"a sum of {int(sums.max())}, but {count} clients reach {count * self.top} at most: their "
                "masks have not cancelled, or one of them has sent more than a client may"
            )
        total: Float64Array = (sums.astype(np.float64) - count * (self.top // 2)) * self.step
        return total
