"""How a run's deltas are summed under masks: the grid of the numbers, and what stands behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.core.config import RunConfig
from antiphon.core.errors import UpdateError
from antiphon.core.types import Float64Array, FloatArray, State
from antiphon.strategies.aggregation.contribution import Tensors
from antiphon.strategies.secure.grid import Grid
from antiphon.strategies.secure.names import MEMBERS
from antiphon.strategies.spaces.space import Space
from antiphon.strategies.trainers.trainer import Trainer

MaskedWords = npt.NDArray[Any]
"""Unsigned integers modulo a power of two."""

WITNESSES = 4
"""Zeros behind each vector: where their sum is none, the masks have not cancelled."""

BEHIND = 2 + WITNESSES
"""Words behind a vector's numbers: its weight, how many of them were clipped, and the witnesses."""


_MOST_MEMBERS = 1 << 20
_MOST_EXAMPLES = 1 << 31


@dataclass(frozen=True)
class Among:
    """Among whom a round's sum is. members: of its cohort; cap: examples of a client that count at most, no
    fewer than any of them has told; 1: each counts once.
    """

    members: int
    cap: int

    @property
    def said(self) -> State:
        """It, as it goes with assignments."""
        return {MEMBERS: np.array([self.members, self.cap], np.uint32)}

    def weight(self, examples: int) -> float:
        """Return what a client with so many examples counts for, in (0, 1]."""
        return min(max(examples, 1), self.cap) / self.cap


def among_of(said: State) -> Among:
    """Return what `Among.said` has said. Raises UpdateError for anything else."""
    pair = said.get(MEMBERS)
    if pair is None or pair.dtype != np.uint32 or pair.shape != (2,):
        raise UpdateError("a secure sum that does not say among how many members it is")
    members, cap = map(int, pair)
    if not (0 < members <= _MOST_MEMBERS and 0 < cap <= _MOST_EXAMPLES):
        raise UpdateError(f"a secure sum among {members} members, of {cap} examples each at most")
    return Among(members, cap)


def among(members: int, told: Iterable[int], *, weighed: bool) -> Among:
    """Return among whom a sum is. told: examples that members have told, 0: not told.

    Others learn of the largest of them no more than the next power of two.
    """
    most = max(told, default=0) if weighed else 0
    return Among(members, 1 << (most - 1).bit_length() if most else 1)


@dataclass(frozen=True)
class CohortMean:
    """What clients have done together. values: their weighted mean, in one row; examples: of all of them;
    clipped: share of the numbers that lay beyond the grid's reach.
    """

    values: Float64Array
    examples: float
    clipped: float


@dataclass(frozen=True)
class SumTerms:
    """What all rounds of a run agree on. threshold: share of the cohort that must survive; reach, bits: see
    Grid; weighed: clients count by their examples, else once each.
    """

    threshold: float
    reach: float
    bits: int
    weighed: bool

    def grid(self, members: int) -> Grid:
        """Return the grid on which so many members meet."""
        return Grid(self.reach, self.bits, members)

    def vector(
        self, delta: Tensors, examples: int, whom: Among, rng: np.random.Generator
    ) -> MaskedWords:
        """Return what a client puts under its mask: weight × delta on the grid, the weight, the witnesses.

        delta: by name, of any shapes. Raises UpdateError for numbers that are not finite.
        """
        grid, numbers = self.grid(whom.members), flat(delta)
        weight = max(1, round(whom.weight(examples) * grid.top))
        within = np.clip(numbers, -np.float32(self.reach), np.float32(self.reach))
        clipped = round(float(np.mean(within != numbers)) * grid.top)
        words = grid.quantise(np.float32(weight / grid.top) * within, rng)
        behind = np.array([weight, clipped] + [0] * WITNESSES, words.dtype)
        return np.concatenate([words, behind])

    def mean(self, total: MaskedWords, count: int, whom: Among) -> CohortMean:
        """Return what `count` clients have done together.

        total: of their vectors, modulo the grid's power of two. Raises UpdateError where masks have not
        cancelled, or a client has sent what no client may.
        """
        grid = self.grid(whom.members)
        weight, clipped = map(int, total[-BEHIND:-WITNESSES])
        most = count * grid.top
        if total[-WITNESSES:].any() or not count <= weight <= most or clipped > most:
            raise UpdateError(
                f"the sum over {count} clients is not one: their masks have not cancelled, or a client has "
                "sent another vector than the round asked for"
            )
        share = weight / grid.top
        values = grid.total(total[:-BEHIND], count) / share
        return CohortMean(values, share * whom.cap, clipped / most)


def terms_of(config: RunConfig, space: Space, trainers: Sequence[Trainer]) -> SumTerms | None:
    """Return the terms of a run; none: it does not sum under masks."""
    asked = config.privacy.secure_aggregation
    if asked is None:
        return None
    reach = asked.reach or max(_reach(each, space) for each in trainers)
    return SumTerms(asked.threshold, reach, asked.bits, asked.weigh == "examples")


def _reach(trainer: Trainer, space: Space) -> float:
    # A walk's scalars are coefficients as they are; among tensors they count by the learning rate.
    rate = trainer.learning_rate(1) if trainer.walks and space.as_tensors else 1.0
    return trainer.reach * rate


def flat(delta: Tensors) -> FloatArray:
    """Return a delta's numbers in one row, in the order of the names."""
    return np.concatenate(
        [np.asarray(delta[name], np.float32).reshape(-1) for name in sorted(delta)]
    )


def shaped(values: Float64Array, start: Tensors) -> dict[str, npt.NDArray[Any]]:
    """Return what `flat` has laid out, in the shapes and dtypes of `start`."""
    made, begin = {}, 0
    for name in sorted(start):
        like = start[name]
        made[name] = values[begin : begin + like.size].reshape(like.shape).astype(like.dtype)
        begin += like.size
    return made
