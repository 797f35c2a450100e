"""The stability guard of zeroth-order training: undo a fold after which losses explode.

Zeroth-order training above its stable learning rate improves at first and then diverges late,
without a warning in the updates themselves. What a fold did is known one round later, from the
losses of the next round's clients. The guard keeps, in the same flat state, the state before the
last fold, the best loss so far and a factor on the learning rate that halves with every undo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from antiphon.core.types import State
from antiphon.strategies.aggregation.contribution import Contribution
from antiphon.strategies.fold import Context, Seen, Stage
from antiphon.strategies.state import prefixed, under

_NAME = "guard"
_BEST, _SCALE, _PREVIOUS = "best_loss", "learning_rate_scale", "previous"


def guard(factor: float) -> Stage:
    """Return the stage. factor: a loss so many times the best, or not finite, undoes the last fold."""

    def each(state: State, contributions: Sequence[Contribution], context: Context) -> Seen:
        loss = reported_loss(contributions)
        scale = learning_rate_scale(state)
        if loss is not None and _exploded(state, loss, factor):
            back = undo(state)
            return Seen(contributions, report=_told(learning_rate_scale(back)), restored=back)
        best = min(_number(state, _BEST, math.inf), math.inf if loss is None else loss)
        kept = {**prefixed(_PREVIOUS, _without_guard(state)), **_numbers(best, scale)}
        return Seen(contributions, kept, _told(scale))

    return Stage(_NAME, each=each)


def learning_rate_scale(state: State) -> float:
    """Return the factor on the configured learning rate: 1, halved with every undo."""
    return _number(state, _SCALE, 1.0)


def undo(state: State) -> State:
    """Return the state before the last fold, with half the learning rate.

    Where the last fold is undone already (or there was none), only the learning rate changes.
    """
    previous = under(f"{_NAME}/{_PREVIOUS}", state)
    best, scale = _number(state, _BEST, math.inf), learning_rate_scale(state)
    return {
        **(previous or _without_guard(state)),
        **prefixed(_NAME, _numbers(best, scale / 2)),
    }


def reported_loss(contributions: Sequence[Contribution]) -> float | None:
    """Return the median of the clients' training losses; None: no reports.

    A median of clients, whatever examples they claim: a minority that reports nonsense can neither undo
    a round nor hide an explosion. With two reports there is no majority: the lower one counts, so that
    one client cannot undo what the other has learned. A loss that is not finite counts as infinite.
    """
    told = [each.loss for each in contributions if each.loss is not None]
    losses = sorted(each if math.isfinite(each) else math.inf for each in told)
    return losses[(len(losses) - 1) // 2] if losses else None


def _exploded(state: State, loss: float, factor: float) -> bool:
    return not math.isfinite(loss) or loss > factor * _number(state, _BEST, math.inf)


def _told(scale: float) -> dict[str, float]:
    return {"learning_rate_scale": scale}


def _numbers(best: float, scale: float) -> State:
    return {_BEST: np.array([best]), _SCALE: np.array([scale])}


def _without_guard(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith(f"{_NAME}/")}


def _number(state: State, name: str, default: float) -> float:
    full = f"{_NAME}/{name}"
    return float(state[full].item()) if full in state else default
