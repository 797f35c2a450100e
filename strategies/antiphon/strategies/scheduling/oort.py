"""Guided selection: clients whose data still has much to teach, and who are not too slow for it.

Oort: Lai, Zhu, Madhyastha and Chowdhury, OSDI 2021, arXiv 2010.06081. For client i of n candidates, k of
which are wanted:

    U_i = |B_i| · √(mean loss²)                        statistical utility
    Ũ_i = (min(U_i, P_clip(U)) − min U) / (P_clip(U) − min U)
    b_i = √(waiting · s_i · k / n)                     s_i: rounds since i was asked last
    score_i = (Ũ_i + b_i) · (T / t_i)^penalty          the last factor only where t_i > T

T, the preferred duration, is a percentile of the durations t_i that have been seen. The pacer moves it:
where the utility of the last `pacer_rounds` rounds differs from that of the same number of rounds
before them by a tenth at most, slower clients are let in (T rises); where it differs fivefold or more,
T falls.

A share ε = max(min_exploration, exploration · decay^(round − 1)) of the cohort goes to clients that were
never asked, the fast and the large ones rather. The rest is drawn, with chances in proportion to the
scores, among all whose score is at least `cut_off` times the k-th best.

The paper's bonus is √(0.1 · ln R / L_i), of round R and the round L_i of the client's last part. It
fades as training goes on, whoever waits: after 1,000 rounds, a client left out for 100 of them gets
0.028, where one asked just now gets 0.026. Ours is of the waiting itself, in units of the n / k rounds
that a uniform draw would let pass: after 1 / waiting of them it weighs as much as the highest utility,
so nobody starves.

A utility is what its client claims, and the claim pays. So it is held against what others say:

* |B_i| counts up to `most_examples` times the median of the candidates' examples.
* √(mean loss²) is confirmed by the held-out loss, the median of all clients: a client that claims more than
  `most_loss` times that is forgotten, and counts as the median candidate.
* Who was asked more than `most_share` times as often as a uniform draw would have counts as the least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from antiphon.core.run_sections import Fraction
from antiphon.strategies.scheduling.scheduler import Scheduler
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry

Percentile = Annotated[float, Field(gt=0, le=100)]
Multiple = Annotated[float, Field(ge=1)]

_STEADY, _LEAP = 0.1, 5.0
_SHORTEST_STEP_S, _LONGEST_STEP_S = 1e-9, 1e9  # what is said beyond them is no time of a step
_MOST_CHANCE = 4.0  # of an unknown client, beside the median one
_SMALLEST_SCORE = (
    1e-12  # that a draw in proportion to scores can reach everybody, and its inverse the sum
)


@dataclass(frozen=True)
class _Oort:
    exploration: float
    exploration_decay: float
    min_exploration: float
    cut_off: float
    clip: float
    waiting: float
    penalty: float
    duration: float
    pacer_rounds: int
    pacer_step: float
    most_examples: float
    most_loss: float
    most_share: float


def oort(
    *,
    exploration: Fraction = 0.9,
    exploration_decay: Fraction = 0.98,
    min_exploration: Fraction = 0.2,
    cut_off: Fraction = 0.95,
    clip: Percentile = 95.0,
    waiting: Annotated[float, Field(ge=0)] = 0.1,
    penalty: Annotated[float, Field(ge=0)] = 2.0,
    duration: Percentile = 30.0,
    pacer_rounds: Annotated[int, Field(ge=1)] = 20,
    pacer_step: Annotated[float, Field(ge=0, le=100)] = 5.0,
    most_examples: Multiple = 2.0,
    most_loss: Multiple = 3.0,
    most_share: Multiple = 2.0,
) -> Scheduler:
    """Choose clients of high loss on much data that answer in time, and try unknown ones (Oort).

    clip, duration: percentiles; pacer_step: percentile points; most_examples, most_loss, most_share: what
    a claim is believed up to, see the module.
    """
    settings = _Oort(
        exploration,
        exploration_decay,
        min_exploration,
        cut_off,
        clip,
        waiting,
        penalty,
        duration,
        pacer_rounds,
        pacer_step,
        most_examples,
        most_loss,
        most_share,
    )

    def choose(
        candidates: Sequence[ClientTelemetry],
        size: int,
        run: RunTelemetry,
        rng: np.random.Generator,
    ) -> tuple[str, ...]:
        return _choose(settings, candidates, size, run, rng)

    uses = ("examples", "rms_loss", "turnaround_s", "step_s", "last_round", "asked")
    return Scheduler(choose, uses=uses)


def exploration_share(settings: _Oort, number: int) -> float:
    """Return ε of round `number`, from 1."""
    decayed = settings.exploration * settings.exploration_decay ** (number - 1)
    return max(settings.min_exploration, decayed)


def preferred_percentile(settings: _Oort, utilities: Sequence[float]) -> float:
    """Return where the pacer stands after these rounds' utilities: the percentile that T is."""
    window, percentile = settings.pacer_rounds, settings.duration
    full = range(window, len(utilities) + 1, window)
    sums = [sum(utilities[end - window : end]) for end in full]
    for before, after in pairwise(sums):
        change = abs(after - before)
        if change <= _STEADY * before:
            percentile += settings.pacer_step
        elif change >= _LEAP * before:
            percentile -= settings.pacer_step
        percentile = min(100.0, max(settings.pacer_step, percentile))
    return percentile


def scores(
    settings: _Oort, asked: Sequence[ClientTelemetry], share: float, run: RunTelemetry
) -> npt.NDArray[np.float64]:
    """Return the score of each client that was asked before. share: k / n of the draw."""
    waited = np.array([run.round - each.last_round for each in asked], dtype=np.float64)
    bonus = np.sqrt(settings.waiting * np.maximum(waited, 0.0) * share)
    utility = believed(settings, asked, share, run)
    return (_normalised(settings, utility) + bonus) * _system_factor(settings, asked, run)


def believed(
    settings: _Oort, asked: Sequence[ClientTelemetry], share: float, run: RunTelemetry
) -> npt.NDArray[np.float64]:
    """Return U of each client, as far as it is believed. share: k / n of the draw."""
    told = [each.examples for each in asked if each.examples]
    usual_examples = float(np.median(told)) if told else 1.0
    held = np.array([each.examples or usual_examples for each in asked], dtype=np.float64)
    examples = np.minimum(held, settings.most_examples * usual_examples)
    loss = np.array([each.rms_loss or 0.0 for each in asked], dtype=np.float64)
    utility = examples * loss
    if run.losses:
        confirmed = loss <= settings.most_loss * run.losses[-1][1]
        usual = float(np.median(utility[confirmed])) if confirmed.any() else 0.0
        utility = np.where(confirmed, utility, usual)
    fair = share * (run.round - 1)
    often = np.array([each.asked > settings.most_share * fair + 1 for each in asked])
    believed: npt.NDArray[np.float64] = np.where(often, utility.min(), utility)
    return believed


def _normalised(settings: _Oort, utility: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return Ũ in [0, 1]; 1 for all where they are equal."""
    lowest, highest = float(utility.min()), float(np.percentile(utility, settings.clip))
    if not highest - lowest > 1e-9 * abs(highest):
        return np.ones_like(utility)
    clipped: npt.NDArray[np.float64] = (np.minimum(utility, highest) - lowest) / (highest - lowest)
    return clipped


def _system_factor(
    settings: _Oort, asked: Sequence[ClientTelemetry], run: RunTelemetry
) -> npt.NDArray[np.float64]:
    durations = [each.turnaround_s for each in asked if each.turnaround_s]
    if not durations:
        return np.ones(len(asked))
    preferred = float(np.percentile(durations, preferred_percentile(settings, run.utilities)))
    slowness = np.array([max(1.0, (each.turnaround_s or 0.0) / preferred) for each in asked])
    factor: npt.NDArray[np.float64] = np.power(slowness, -settings.penalty)
    return factor


def _choose(
    settings: _Oort,
    candidates: Sequence[ClientTelemetry],
    size: int,
    run: RunTelemetry,
    rng: np.random.Generator,
) -> tuple[str, ...]:
    everybody = sorted(candidates, key=lambda each: each.client)
    if size >= len(everybody):
        return tuple(each.client for each in everybody)
    unknown = [each for each in everybody if each.last_round == 0]
    asked = [each for each in everybody if each.last_round > 0]
    explored = min(len(unknown), round(exploration_share(settings, run.round) * size))
    exploited = min(len(asked), size - explored)
    chosen = _explored(unknown, size - exploited, rng)
    chosen += _exploited(settings, asked, exploited, size / len(everybody), run, rng)
    return tuple(sorted(each.client for each in chosen))


def _explored(
    unknown: Sequence[ClientTelemetry], count: int, rng: np.random.Generator
) -> list[ClientTelemetry]:
    """Draw among clients that were never asked: by examples, and by speed where they have told it."""
    took = [min(max(each.step_s or 0.0, 0.0), _LONGEST_STEP_S) for each in unknown]
    told = [each for each in took if each >= _SHORTEST_STEP_S]
    usual = float(np.median(told)) if told else 1.0
    weight = [
        max(1, each.examples) * usual / (max(step_s, _SHORTEST_STEP_S) if step_s else usual)
        for each, step_s in zip(unknown, took, strict=True)
    ]
    # Nobody has seen what these claim: it pays a few times a usual one's chance, and no more.
    most = _MOST_CHANCE * float(np.median(weight)) if weight else 0.0
    return _drawn(unknown, np.minimum(weight, most), count, rng)


def _exploited(
    settings: _Oort,
    asked: Sequence[ClientTelemetry],
    count: int,
    share: float,
    run: RunTelemetry,
    rng: np.random.Generator,
) -> list[ClientTelemetry]:
    if count == 0:
        return []
    score = scores(settings, asked, share, run)
    bar = settings.cut_off * float(np.sort(score)[-count])
    best = np.flatnonzero(score >= bar)
    return _drawn([asked[int(i)] for i in best], score[best], count, rng)


def _drawn(
    clients: Sequence[ClientTelemetry],
    weight: npt.NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> list[ClientTelemetry]:
    if count == 0:
        return []
    usable = np.clip(np.nan_to_num(weight), _SMALLEST_SCORE, 1 / _SMALLEST_SCORE)
    total = math.fsum(usable.tolist())
    picked = rng.choice(len(clients), size=count, replace=False, p=usable / total)
    return [clients[i] for i in picked]
