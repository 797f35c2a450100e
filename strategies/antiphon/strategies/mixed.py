"""One round of two kinds of clients: some send LoRA deltas, others seed-scalars for the same adapter.

A client that took steps w ← w − lr·g_t·z_{k_t} on the factors has moved them by Σ_k c_k z_k with
c_k = −lr·Σ_{t: k_t = k} g_t. The server draws the same directions, so that its contribution is a delta of
the factors like any other, and is folded with its share of the examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.errors import UpdateError
from antiphon.core.types import Assignment, FloatArray, LoraUpdate, Scalars, State, Update
from antiphon.strategies.method import Folded, ServerMethod
from antiphon.strategies.seed_space import Directions, total
from antiphon.strategies.seeds import check_choice, checked_scalars

Shapes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class _Mixed:
    lora: ServerMethod
    r: int
    num_seeds: int
    max_scalar: float
    along: Directions


def mixed(
    lora: ServerMethod, *, r: int, num_seeds: int, max_scalar: float, along: Directions
) -> ServerMethod:
    """Make the method. lora: what folds deltas; r: rank of the global adapter, which is that of every
    client that sends scalars; num_seeds: K; max_scalar: a scalar beyond it is refused; along: the
    directions of the run.
    """
    settings = _Mixed(lora, r, num_seeds, max_scalar, along)
    return replace(lora, check=partial(_check, settings), fold=partial(_fold, settings))


class RebuiltDelta(Mapping[str, FloatArray]):
    """Σ_k c_k z_k by tensor, drawn anew at each look-up: a hundred clients are a hundred coefficients."""

    def __init__(self, shapes: Shapes, coefficients: SeedCoefficients, along: Directions) -> None:
        """Draw nothing yet."""
        self._shapes, self._coefficients, self._along = shapes, coefficients, along

    def __getitem__(self, name: str) -> FloatArray:
        """Draw one tensor's delta."""
        return total(name, self._shapes[name], self._coefficients, self._along)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._shapes)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self._shapes)


def _check(settings: _Mixed, state: State, update: Update, assignment: Assignment) -> None:
    sent = "seeds" if isinstance(update.payload, Scalars) else "lora"
    if sent != assignment.method:
        raise UpdateError(
            f"client {update.client} sent an update of method {sent}, the assignment asked for "
            f"{assignment.method}"
        )
    if isinstance(update.payload, Scalars):
        scalars = checked_scalars(update, settings.num_seeds, settings.max_scalar)
        key, num_seeds = settings.along.key, settings.num_seeds
        check_choice(scalars, assignment, key=key, num_seeds=num_seeds)
    shapes = _shapes(settings, state)
    as_delta = _as_delta(settings, shapes, update, assignment.learning_rate)
    settings.lora.check(state, as_delta, assignment)


def _fold(
    settings: _Mixed, state: State, updates: Iterable[Update], learning_rate: float
) -> Folded:
    shapes = _shapes(settings, state)
    deltas = (
        _as_delta(settings, shapes, each, each.learning_rate or learning_rate) for each in updates
    )
    return settings.lora.fold(state, deltas, learning_rate)


def _as_delta(settings: _Mixed, shapes: Shapes, update: Update, learning_rate: float) -> Update:
    if not isinstance(update.payload, Scalars):
        return update
    scalars = checked_scalars(update, settings.num_seeds, settings.max_scalar)
    summed = np.bincount(scalars.index, scalars.value.astype(np.float64), settings.num_seeds)
    index = np.flatnonzero(summed).astype(np.uint32)
    value = (-learning_rate * summed[index]).astype(np.float32)
    coefficients = SeedCoefficients(settings.num_seeds, index, value)
    return replace(update, payload=LoraUpdate(RebuiltDelta(shapes, coefficients, settings.along)))


def _shapes(settings: _Mixed, state: State) -> Shapes:
    factors = settings.lora.download(state, settings.r)
    assert not isinstance(factors, SeedCoefficients)
    return {name: (value.shape[0], value.shape[1]) for name, value in factors.items()}
