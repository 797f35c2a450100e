"""The stability guard of zeroth-order training: undo a fold after which losses explode.

Zeroth-order training above its stable learning rate improves at first and then diverges late,
without a warning in the updates themselves. What a fold did is known one round later, from the
losses of the next round's clients. The guard keeps, in the same flat state, the state before the
last fold, the best loss so far and a factor on the learning rate that halves with every undo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.core.types import State, Update
from antiphon.strategies.state import prefixed, under

_BEST = "guard/best_loss"
_SCALE = "guard/learning_rate_scale"
_PREVIOUS = "previous"


@dataclass(frozen=True)
class Guard:
    """factor: a loss this many times the best so far, or not finite, undoes the last fold."""

    factor: float

    def exploded(self, state: State, loss: float) -> bool:
        """Tell whether this loss means that the last fold must be undone."""
        return not math.isfinite(loss) or loss > self.factor * _number(state, _BEST, math.inf)


def learning_rate_scale(state: State) -> float:
    """Return the factor on the configured learning rate: 1, halved with every undo."""
    return _number(state, _SCALE, 1.0)


def remember(before: State, after: State, loss: float | None) -> State:
    """Return `after` with what an undo needs; `loss`: the round's, measured before its fold."""
    best = min(_number(before, _BEST, math.inf), math.inf if loss is None else loss)
    kept = {name: value for name, value in before.items() if not _is_guards(name)}
    return {
        **{name: value for name, value in after.items() if not _is_guards(name)},
        **prefixed(_PREVIOUS, kept),
        _BEST: np.array([best]),
        _SCALE: np.array([learning_rate_scale(before)]),
    }


def undo(state: State) -> State:
    """Return the state before the last fold, with half the learning rate.

    Where the last fold is undone already (or there was none), only the learning rate changes.
    """
    previous = under(_PREVIOUS, state)
    restored = previous or {name: value for name, value in state.items() if not _is_guards(name)}
    return {
        **restored,
        _BEST: np.array([_number(state, _BEST, math.inf)]),
        _SCALE: np.array([learning_rate_scale(state) / 2]),
    }


def reported_loss(updates: Sequence[Update]) -> float | None:
    """Return the median of the clients' training losses; None: no reports.

    A median of clients, whatever examples they claim: a minority that reports nonsense can neither undo
    a round nor hide an explosion. With two reports there is no majority: the lower one counts, so that
    one client cannot undo what the other has learned. A loss that is not finite counts as infinite.
    """
    losses = sorted(_loss(each) for each in updates if "loss" in each.metrics)
    return losses[(len(losses) - 1) // 2] if losses else None


def _loss(update: Update) -> float:
    loss = update.metrics["loss"]
    return loss if math.isfinite(loss) else math.inf


def _is_guards(name: str) -> bool:
    return name in (_BEST, _SCALE) or name.startswith(f"{_PREVIOUS}/")


def _number(state: State, name: str, default: float) -> float:
    return float(state[name].item()) if name in state else default
