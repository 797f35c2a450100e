"""The server's half of method `seeds`: FedKSeed and FedKSeed-Pro (Qin et al., ICML 2024).

The model is w = w₀ + Σ_k C_k z_k over K candidate seeds, so that the server holds K numbers. A
client that took steps w ← w − lr·g_t·z_{k_t} contributes c_k = −lr·Σ_{t: k_t = k} g_t; the server
adds Σ pᵢcᵢ with pᵢ the shares of examples; one that began τ rounds ago counts s(τ) times
(strategies/staleness.py). Linear server optimizers act on C as they would on w.

State: `coefficients` float64 (K,), `opt/<…>`, for sampling `pro` `history_sum` and `history_count`
float64 (K,), and what guard and protections keep (strategies/guard.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from antiphon.core.coefficients import SeedCoefficients
from antiphon.core.errors import ConfigError, UpdateError
from antiphon.core.seed_choice import given, in_turn, pool
from antiphon.core.types import AnyArray, Assignment, Params, Scalars, State, Update
from antiphon.strategies.aggregation.contribution import Points, normalise, weighted
from antiphon.strategies.guard import (
    Guard,
    learning_rate_scale,
    remember,
    reported_loss,
    undo,
)
from antiphon.strategies.method import Folded, ServerMethod, in_order
from antiphon.strategies.protection.agreement import UNKNOWN, agreements
from antiphon.strategies.protection.protection import (
    Protected,
    Protection,
    Share,
    memory,
    protected,
    remembered,
)
from antiphon.strategies.server_opt.optimizers import ServerOptimizer
from antiphon.strategies.staleness import discount
from antiphon.strategies.state import prefixed, under

Float64Array = npt.NDArray[np.float64]
Sampling = Literal["uniform", "pro"]


@dataclass(frozen=True)
class _Seeds:
    num_seeds: int
    key: int
    optimizer: ServerOptimizer
    max_scalar: float
    sampling: Sampling
    guard: Guard | None
    protections: Sequence[Protection] = ()
    combine: Callable[[Points], Float64Array] = weighted


def seeds(
    *,
    num_seeds: int,
    key: int,
    optimizer: ServerOptimizer,
    max_scalar: float = 1e3,
    sampling: Sampling = "uniform",
    guard: Guard | None = None,
    protections: Sequence[Protection] = (),
    combine: Callable[[Points], Float64Array] = weighted,
) -> ServerMethod:
    """Make the method. num_seeds: K; key: of the run's directions; max_scalar: a scalar beyond it is
    refused (clients clip to it); protections: what bounds each client's say, from left to right; combine:
    makes one point of all.

    Raises ConfigError for a server optimizer that is not linear.
    """
    if not optimizer.linear:
        raise ConfigError(
            "method seeds needs a linear server optimizer, since it acts on coefficients and not "
            "on weights: use sgd, momentum or nesterov"
        )
    settings = _Seeds(
        num_seeds, key, optimizer, max_scalar, sampling, guard, tuple(protections), combine
    )
    return ServerMethod(
        init=partial(_init, settings),
        check=partial(_check, settings),
        fold=partial(_fold, settings),
        download=partial(_download, settings),
    )


def probabilities(state: State) -> Float64Array:
    """Return how likely a client is to draw each seed, float64 (K,), summing to 1.

    Pro: the mean |g| of each seed's history, which begins with one zero as published, min–max
    normalised, then softmax; so the largest is at most e times the smallest. Uniform without a
    history.
    """
    if "history_sum" not in state:
        num_seeds = len(state["coefficients"])
        return np.full(num_seeds, 1 / num_seeds)
    score = _wide(state["history_sum"]) / (_wide(state["history_count"]) + 1)
    spread = float(score.max() - score.min())
    weights = np.exp((score - score.min()) / spread if spread > 0 else np.zeros_like(score))
    drawn: Float64Array = weights / weights.sum()
    return drawn


def _init(settings: _Seeds, params: Params) -> State:
    zeros = np.zeros(settings.num_seeds)
    state: dict[str, AnyArray] = {"coefficients": zeros}
    state |= prefixed("opt", settings.optimizer.init({"coefficients": zeros}))
    if settings.sampling == "pro":
        state |= {"history_sum": zeros, "history_count": zeros}
    return state


def _check(settings: _Seeds, state: State, update: Update, assignment: Assignment) -> None:
    sent = _scalars_of(settings, update)
    drawn = settings.sampling == "pro"
    check_choice(sent, assignment, key=settings.key, num_seeds=settings.num_seeds, drawn=drawn)


def _download(settings: _Seeds, state: State, r: int) -> SeedCoefficients:
    value = _wide(state["coefficients"]).astype(np.float32)
    index = np.flatnonzero(value).astype(np.uint32)
    drawn = probabilities(state).astype(np.float32) if settings.sampling == "pro" else None
    return SeedCoefficients(settings.num_seeds, index, value[index], drawn)


def _fold(
    settings: _Seeds, state: State, updates: Iterable[Update], learning_rate: float
) -> Folded:
    ordered = in_order(updates)
    loss = reported_loss(ordered) if settings.guard else None
    if settings.guard and loss is not None and settings.guard.exploded(state, loss):
        before = undo(state)
        return Folded(before, _report(state, before), undone=True)
    points = [_point(settings, each, learning_rate) for each in ordered]
    limited = _protected(settings, state, ordered, points)
    after = _moved(settings, state, ordered, points, limited.shares, learning_rate)
    after = {**after, **memory(limited.usual)}
    if settings.guard:
        after = remember(state, after, loss)
    return Folded(after, _report(state, after), held_back=limited.held_back)


def _protected(
    settings: _Seeds, state: State, ordered: Sequence[Update], points: Sequence[Float64Array]
) -> Protected:
    """Return what each client's update counts."""
    compared = [UNKNOWN] * len(points)
    if points and any(each.reads_agreement for each in settings.protections):
        compared = agreements(np.stack(points))
    asked = [
        Share(each.client, float(each.examples), float(np.linalg.norm(point)), agreement=found)
        for each, point, found in zip(ordered, points, compared, strict=True)
    ]
    return protected(settings.protections, asked, remembered(state))


def _moved(
    settings: _Seeds,
    state: State,
    ordered: Sequence[Update],
    points: Sequence[Float64Array],
    shares: Sequence[Share],
    learning_rate: float,
) -> State:
    weights = normalise({each.client: each.weight for each in shares})
    if len(weights) != len(ordered):
        raise UpdateError("a client contributes twice to one round: fold each client's update once")
    counted = [each.factor * point for each, point in zip(shares, points, strict=True)]
    cohort = Points(tuple(weights), np.array(list(weights.values())), np.stack(counted))
    delta = -learning_rate * settings.combine(cohort)
    start = {"coefficients": _wide(state["coefficients"])}
    opt, after = settings.optimizer.apply(under("opt", state), start, {"coefficients": delta})
    return {**after, **prefixed("opt", opt), **_history(settings, state, ordered, shares)}


def _point(settings: _Seeds, update: Update, learning_rate: float) -> Float64Array:
    """Return Σ_{t: k_t = k} g_t of one client, (K,), in units of the round's learning rate."""
    return _relative_rate(update, learning_rate) * _summed(settings, _scalars_of(settings, update))


def _relative_rate(update: Update, learning_rate: float) -> float:
    """Return s(τ) times the update's own learning rate, relative to that of the round."""
    own = update.learning_rate
    ratio = 1.0 if own is None or own == learning_rate else own / learning_rate
    return ratio * discount(update.staleness)


def _history(
    settings: _Seeds, state: State, ordered: Sequence[Update], shares: Sequence[Share]
) -> State:
    if settings.sampling != "pro":
        return {}
    total, count = _wide(state["history_sum"]), _wide(state["history_count"])
    for update, share in zip(ordered, shares, strict=True):
        each = _scalars_of(settings, update)
        size = share.factor * np.abs(each.value.astype(np.float64))
        total = total + np.bincount(each.index, weights=size, minlength=settings.num_seeds)
        count = count + np.bincount(each.index, minlength=settings.num_seeds)
    return {"history_sum": total, "history_count": count}


def _summed(settings: _Seeds, scalars: Scalars) -> Float64Array:
    weights = scalars.value.astype(np.float64)
    summed = np.bincount(scalars.index, weights=weights, minlength=settings.num_seeds)
    return summed.astype(np.float64)


def _scalars_of(settings: _Seeds, update: Update) -> Scalars:
    return checked_scalars(update, settings.num_seeds, settings.max_scalar)


def checked_scalars(update: Update, num_seeds: int, max_scalar: float) -> Scalars:
    """Return what a client sent. num_seeds: K; max_scalar: bound of |g|.

    Raises UpdateError for another payload, indices beyond K, or scalars that are not finite or too large.
    """
    sent = update.payload
    if not isinstance(sent, Scalars):
        raise UpdateError(
            f"client {update.client} sent {type(sent).__name__}, but the round asked for Scalars"
        )
    if sent.index.shape != sent.value.shape or sent.index.ndim != 1:
        raise UpdateError(
            f"client {update.client} sent {sent.index.shape} indices for {sent.value.shape} "
            "scalars, expected one index for each scalar"
        )
    beyond = sent.index[sent.index >= num_seeds]
    if len(beyond):
        raise UpdateError(f"client {update.client}: seed {beyond[0]}, but K is {num_seeds}")
    # Written so that NaN is refused too.
    if not (np.abs(sent.value) <= max_scalar).all():
        raise UpdateError(
            f"client {update.client} sent a scalar that is not finite or beyond "
            f"max_scalar = {max_scalar:g}: clients clip to it"
        )
    return sent


def check_choice(
    sent: Scalars, assignment: Assignment, *, key: int, num_seeds: int, drawn: bool = False
) -> None:
    """Look whether a client moved along the seeds that it was given. key: of the run; num_seeds: K.

    drawn: it drew them by probabilities, which may have changed since: then they must be of the round's
    pool. Raises UpdateError for more scalars than steps, and for seeds of the client's own choice.
    """
    client, taken = assignment.client, len(sent.index)
    if taken > assignment.steps:
        raise UpdateError(
            f"client {client} sent {taken} scalars, the assignment asked for {assignment.steps} steps"
        )
    if drawn:
        candidates = pool(key, assignment.round, num_seeds, assignment.pool)
        is_as_given = bool(np.isin(sent.index, candidates).all())
    else:
        is_as_given = in_turn(sent.index, given(assignment, key, num_seeds))
    if not is_as_given:
        raise UpdateError(
            f"client {client} moved along other seeds than round {assignment.round} gave it: the "
            "coordinator says which seeds a client tries. Does it run another version of Antiphon?"
        )


def _report(before: State, after: State) -> dict[str, float]:
    moved = _wide(after["coefficients"]) - _wide(before["coefficients"])
    return {
        "update_norm": float(np.linalg.norm(moved)),
        "learning_rate_scale": learning_rate_scale(after),
    }


def _wide(array: npt.NDArray[Any]) -> Float64Array:
    return array.astype(np.float64)
