"""What a zeroth-order step needs of the weights: look on both sides of them, and move them.

Both losses of a two-sided difference come from one forward pass over the batch stacked on itself: the
first half of the rows sees w + εz, the second half w − εz. One pass over [x; x] costs what two passes over
x cost, and the direction is drawn once for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import nn


class Probe(Protocol):
    """Linear modules whose weights can be probed and moved along seeded directions.

    It takes over the modules' forward when made and gives it back in `close`. Between two
    assignments the weights are whatever the caller wrote into them.
    """

    def two_sided(self, seed: int, epsilon: float) -> AbstractContextManager[None]:
        """Within it, the first half of a stacked batch sees w + εz, the second half w − εz."""
        ...

    def move(self, seed: int, coefficient: float) -> None:
        """Set w ← w + coefficient · z(seed)."""
        ...

    def settle(self) -> None:
        """Write every move into the weights themselves."""
        ...

    def close(self) -> None:
        """Give the modules their own forward back."""
        ...


Forward = Callable[[nn.Linear, str, torch.Tensor], torch.Tensor]


class TakenOver:
    """Linear modules whose forward is ours for a while."""

    def __init__(self, linears: Mapping[str, nn.Linear], forward: Forward) -> None:
        """Replace the forward of each module by `forward(module, name, x)`."""
        self._linears = linears
        for name, linear in linears.items():
            # An instance attribute shadows the class's forward; deleting it brings that one back.
            vars(linear)["forward"] = _bind(forward, linear, name)

    def give_back(self) -> None:
        """Restore the modules."""
        for linear in self._linears.values():
            vars(linear).pop("forward", None)


def _bind(forward: Forward, linear: nn.Linear, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: forward(linear, name, x)
