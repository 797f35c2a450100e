"""FedKSeed-Pro: seeds that have mattered are tried more often (Qin et al., ICML 2024, §3.4)."""

from __future__ import annotations

import numpy as np

from antiphon.core.types import Float64Array, State, Update
from antiphon.strategies.fold import Begun, Context, Moved, Stage, Turn
from antiphon.strategies.forms.scalars import walk_of

_NAME = "history"


def history(num_seeds: int) -> Stage:
    """Return the stage that remembers the sum and number of |g| of each seed. num_seeds: K."""
    zeros = np.zeros(num_seeds)

    def after(kept: State, turn: Turn, context: Context) -> Moved:
        total, count = (
            turn.state[f"{_NAME}/{each}"].astype(np.float64) for each in ("sum", "count")
        )
        for each in turn.contributions:
            if each.sent is None:
                continue
            walk = walk_of(Update(each.client, context.round, 0, 0, each.sent))
            size = each.factor * np.abs(walk.value.astype(np.float64))
            total = total + np.bincount(walk.index, weights=size, minlength=num_seeds)
            count = count + np.bincount(walk.index, minlength=num_seeds)
        return Moved(turn.delta, {"sum": total, "count": count}, params=turn.known)

    return Stage(_NAME, begin=lambda params: Begun({"sum": zeros, "count": zeros}), after=after)


def probabilities(state: State, num_seeds: int) -> Float64Array:
    """Return how likely a client is to draw each seed, float64 (K,), summing to 1.

    The mean |g| of each seed's history, which begins with one zero as published, min–max normalised, then
    softmax; so the largest is at most e times the smallest. Uniform without a history.
    """
    if f"{_NAME}/sum" not in state:
        return np.full(num_seeds, 1 / num_seeds)
    total, count = (state[f"{_NAME}/{each}"].astype(np.float64) for each in ("sum", "count"))
    score = total / (count + 1)
    spread = float(score.max() - score.min())
    weights = np.exp((score - score.min()) / spread if spread > 0 else np.zeros_like(score))
    drawn: Float64Array = weights / weights.sum()
    return drawn
