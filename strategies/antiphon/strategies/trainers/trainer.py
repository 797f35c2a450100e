"""What is known of a trainer before it trains: the half of it that needs no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.core import registry
from antiphon.core.config import RunConfig
from antiphon.strategies.bases.base import Need


@dataclass(frozen=True)
class Trainer:
    """How a client finds its delta; the client's half of the same name does it.

    kind: its name; section: of the config, where its arguments stand; steps: of a client and round;
    batch: examples of one pass; accumulation: passes of a step; learning_rate(round) → the peak of that
    round's; walks: its steps are along seeded directions, so that seeds and scalars say all of them;
    needs: what it needs of the base model, of which gradients cost most: they are held, with two moments,
    beside each trained number; likes: what `auto` looks for besides; reach: how far one number moves in a
    round at most, near enough: what is beyond it is clipped where numbers need a range.
    """

    kind: str
    section: str
    steps: int
    batch: int
    accumulation: int
    learning_rate: Callable[[int], float]
    walks: bool
    needs: frozenset[Need]
    likes: frozenset[Need] = frozenset()
    reach: float = 1.0

    @property
    def backward(self) -> bool:
        """Whether it computes gradients."""
        return Need.GRADIENTS in self.needs

    @property
    def examples_per_step(self) -> int:
        """Examples that one step takes together."""
        return self.batch * self.accumulation


def trainer(kind: str, config: RunConfig) -> Trainer:
    """Return an installed trainer as a run's config sets it. Raises ConfigError."""
    built: Trainer = registry.build("trainer", kind, {}, {"config": config})
    return built
