"""The server's half of method `lora`: aggregate the factors, take the optimizer's step.

A delta that began τ rounds ago counts s(τ) times, as one of the factors that are global now
(strategies/staleness.py).

State: `params/<name>`, the global factors (float32), `opt/<…>`, the server optimizer's, and what the
protections remember.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from antiphon.core.errors import UpdateError
from antiphon.core.tensors import check_against
from antiphon.core.types import Assignment, FloatArray, LoraUpdate, Params, State, Update
from antiphon.strategies.aggregation.change import change_norms, change_products
from antiphon.strategies.aggregation.contribution import Aggregation, Contribution
from antiphon.strategies.aggregation.restrict import restrict
from antiphon.strategies.method import Folded, ServerMethod, in_order
from antiphon.strategies.protection.agreement import UNKNOWN, agreements_of_products
from antiphon.strategies.protection.protection import (
    Protected,
    Protection,
    Share,
    memory,
    protected,
    remembered,
)
from antiphon.strategies.server_opt.optimizers import ServerOptimizer
from antiphon.strategies.server_opt.transform import Tensors
from antiphon.strategies.staleness import discounted
from antiphon.strategies.state import prefixed, under


@dataclass(frozen=True)
class _Lora:
    aggregation: Aggregation
    optimizer: ServerOptimizer
    lora_alpha: float
    r: int
    client_ranks: Mapping[str, int] = field(default_factory=dict)
    max_norm: float | None = None
    protections: Sequence[Protection] = ()

    def scale(self, r: int) -> float:
        return self.lora_alpha / r

    def rank_of(self, client: str) -> int:
        return self.client_ranks.get(client, self.r)


def lora(
    *,
    aggregation: Aggregation,
    optimizer: ServerOptimizer,
    lora_alpha: float,
    r: int,
    client_ranks: Mapping[str, int] | None = None,
    max_norm: float | None = None,
    protections: Sequence[Protection] = (),
) -> ServerMethod:
    """Make the method. r: rank of the global adapter; client_ranks: of clients whose rank is
    smaller.

    Every rank shares `lora_alpha`, as PEFT does: a client of rank r′ counts its product alpha / r′
    times. max_norm: bound of an update's L2 norm; none: no bound; protections: what bounds each client's
    say, from left to right.
    """
    ranks = dict(client_ranks or {})
    settings = _Lora(aggregation, optimizer, lora_alpha, r, ranks, max_norm, tuple(protections))
    return ServerMethod(
        init=partial(_init, settings),
        check=partial(_check, settings),
        fold=partial(_fold, settings),
        download=partial(_download, settings),
    )


def _init(settings: _Lora, params: Params) -> State:
    factors = dict(params)
    return prefixed("params", factors) | prefixed("opt", settings.optimizer.init(factors))


def _check(settings: _Lora, state: State, update: Update, assignment: Assignment) -> None:
    check_against(
        _download(settings, state, assignment.r), _delta_of(update), max_norm=settings.max_norm
    )


def _download(settings: _Lora, state: State, r: int) -> dict[str, FloatArray]:
    scale, scale_at_r = settings.scale(settings.r), settings.scale(r)
    return restrict(_params(state), r, scale=scale, scale_at_r=scale_at_r)


def _fold(settings: _Lora, state: State, updates: Iterable[Update], learning_rate: float) -> Folded:
    start = _params(state)
    sent = _contributions(settings, state, start, in_order(updates))
    contributions, limited = _protected(settings, state, start, sent)
    aggregated = settings.aggregation.aggregate(start, settings.scale(settings.r), contributions)
    delta = {name: aggregated.params[name] - start[name] for name in start}
    opt, params = settings.optimizer.apply(under("opt", state), start, delta)
    report = {"update_norm": _distance(start, params)}
    if not math.isnan(aggregated.error):
        report["aggregation_error"] = aggregated.error
    after: State = {
        **prefixed("params", params),
        **prefixed("opt", opt),
        **memory(limited.usual),
    }
    return Folded(after, report, held_back=limited.held_back)


def _protected(
    settings: _Lora, state: State, start: Params, contributions: Sequence[Contribution]
) -> tuple[list[Contribution], Protected]:
    """Return the contributions as far as they count."""
    reach: Sequence[float] = [0.0] * len(contributions)
    if any(each.reads_reach for each in settings.protections):
        reach = (settings.aggregation.reach or change_norms)(start, contributions)
    compared = [UNKNOWN] * len(contributions)
    if any(each.reads_agreement for each in settings.protections):
        compared = agreements_of_products(change_products(start, contributions))
    shares = [
        Share(each.client, each.weight, how_far, agreement=found)
        for each, how_far, found in zip(contributions, reach, compared, strict=True)
    ]
    limited = protected(settings.protections, shares, remembered(state))
    counted = [
        replace(each, weight=share.weight, factor=share.factor)
        for each, share in zip(contributions, limited.shares, strict=True)
    ]
    return counted, limited


def _contributions(
    settings: _Lora, state: State, start: Params, updates: Iterable[Update]
) -> list[Contribution]:
    # Whoever has the global rank starts from the very same object: an aggregation reads it once.
    starts: dict[int, Params] = {settings.r: start}
    contributions = []
    for update in updates:
        r = settings.rank_of(update.client)
        if r not in starts:
            starts[r] = _download(settings, state, r)
        contributions.append(
            Contribution(
                update.client,
                update.examples,
                starts[r],
                discounted(_delta_of(update), update.staleness),
                settings.scale(r),
            )
        )
    return contributions


def _delta_of(update: Update) -> Params:
    if not isinstance(update.payload, LoraUpdate):
        raise UpdateError(
            f"client {update.client} sent {type(update.payload).__name__}, "
            "but the round asked for LoraUpdate"
        )
    return update.payload.delta


def _params(state: State) -> dict[str, FloatArray]:
    params = under("params", state).items()
    return {name: value.astype(np.float32, copy=False) for name, value in params}


def _distance(one: Tensors, other: Tensors) -> float:
    apart = (np.subtract(one[name], other[name], dtype=np.float64) for name in one)
    return float(np.sqrt(sum(np.sum(np.square(each, out=each)) for each in apart)))
