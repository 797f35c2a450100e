"""As much learning in a second as the cohort's machines and lines allow.

A round of length D, at b bits per parameter, has member i with transfer time c_i(b) and step time p_i take

    s_i = min(n_i, ⌊(D − c_i(b)) / p_i⌋)

local steps, and is worth, by the second,

    G(D, b) = (1 − 2^(−2b)) · S · M / (M + β) / (D + h)
    S = Σ s_i / m          M = (Σ s_i)² / Σ s_i²

S: how far the mean of the m members goes (examples do not count: they are a client's own word); M: how many
members it is effectively the mean of; β: members whose mean has as much noise as signal (the gradient noise
scale of McCandlish et al., arXiv 1812.06162, counted in members); h: the longest fold and evaluation so
far; 1 − 2^(−2b): the part of a Gaussian that b bits can say. In S and M no member counts more than three
times the median, whatever it claims. D is one at which some member ends a step, and at least that at which
a share `reach` of the cohort can take one step, so that the slow are heard as well; b is on the scale of
rates.py. Both are the best of those, by looking at all (of a large cohort, at 256 lengths).

In asynchronous rounds nobody waits for anybody. All take the same n steps, so that no update says less than
another of those it is averaged with; b is the best of G(b) = (1 − 2^(−2b)) · Σ n_i / (c_i(b) + n_i p_i).

Who has not been measured yet takes `trial` of its steps, twice as many with every further asking, and waits
for no estimate. The deadline is `patience` · D once everybody is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.core.defaults import RATED
from antiphon.core.errors import ConfigError
from antiphon.core.types import CodecChoice, Float64Array, Plain
from antiphon.strategies.policy.policy import Decision, Draft, Policy, Stop
from antiphon.strategies.policy.rates import Rates
from antiphon.strategies.scheduling.telemetry import Telemetry
from antiphon.strategies.scheduling.work import MemberWork

_MOST_LENGTHS, _MOST_COUNTS = 256, 64
_INSTANT_S, _LONGEST_S = 1e-6, 1e9
_MOST_ABOVE = 3.0  # times the median


@dataclass(frozen=True)
class _Aim:
    until_loss: float | None
    rates: Rates
    noise: float
    reach: float
    patience: float
    trial: float


@dataclass(frozen=True)
class _Round:
    """A length and a rate. length_s: without end where nobody waits; worth: G, 0 where nobody is known."""

    length_s: float
    codec: CodecChoice | None
    workers: tuple[MemberWork, ...]
    worth: float


def swift(
    *,
    until_loss: float | None = None,
    codec: str = RATED,
    min_bits: float = 1.0,
    max_bits: float = 8.0,
    noise: float = 2.0,
    reach: float = 0.8,
    patience: float = 1.25,
    trial: float = 0.25,
) -> Policy:
    """Choose each round's length, work and rate for the most learning in a second.

    until_loss: held-out loss at which the run ends; codec: one that takes `bits`; min_bits, max_bits: bits
    per parameter; noise: β; reach, trial: shares in (0, 1]. Raises ConfigError where one is impossible.
    """
    aim = _Aim(until_loss, Rates(codec, min_bits, max_bits), noise, reach, patience, trial)
    _check(aim)

    def decide(telemetry: Telemetry, draft: Draft, rng: np.random.Generator) -> Decision | Stop:
        return _decide(aim, telemetry, draft)

    return Policy(decide, uses=("uplink_bytes_per_s", "downlink_bytes_per_s", "step_s"))


def _check(aim: _Aim) -> None:
    for name, share in (("reach", aim.reach), ("trial", aim.trial)):
        if not 0 < share <= 1:
            raise ConfigError(f"policy swift: {name} should be in (0, 1], got {share:g}")
    if not (math.isfinite(aim.noise) and aim.noise >= 0):
        raise ConfigError(f"policy swift: noise should be 0 or more, got {aim.noise:g}")
    if not (math.isfinite(aim.patience) and aim.patience >= 1):
        raise ConfigError(f"policy swift: patience should be 1 or more, got {aim.patience:g}")
    aim.rates.check("swift")


def _decide(aim: _Aim, telemetry: Telemetry, draft: Draft) -> Decision | Stop:
    if (stop := _arrived(aim, telemetry)) is not None:
        return stop
    cohort = draft.cohort(draft.size)
    codecs = [None] if draft.codec is None else aim.rates.choices()
    rounds = [_round(aim, telemetry, draft, cohort, codec) for codec in codecs]
    best = max(
        rounds, key=lambda each: each.worth
    )  # of equals the highest rate, which is the first
    steps = {
        each.client: _steps(aim, telemetry, draft, each, best.length_s) for each in best.workers
    }
    return Decision(
        size=draft.size,
        steps=steps,
        codec=best.codec,
        deadline_s=_deadline(aim, draft, best),
        reason=_reason(best, steps),
        seen={"run": _seen(telemetry)},
    )


def _arrived(aim: _Aim, telemetry: Telemetry) -> Stop | None:
    measured = telemetry.run.losses
    if aim.until_loss is None or not measured or measured[-1][1] > aim.until_loss:
        return None
    number, loss = measured[-1]
    return Stop(
        f"the held-out loss is {loss:.4g} after round {number}, asked for {aim.until_loss:g}"
    )


def _round(
    aim: _Aim, telemetry: Telemetry, draft: Draft, cohort: Sequence[str], codec: CodecChoice | None
) -> _Round:
    """Return the best length of the round at one rate."""
    most = draft.work(cohort, codec, draft.max_steps)
    workers = tuple(draft.costs.worker(telemetry.of(each), codec, most[each]) for each in cohort)
    known = [each for each in workers if each.step_s]
    said = 1.0 if codec is None else 1 - 2 ** (-2 * float(codec.arguments["bits"] or 0.0))
    if draft.buffer is not None or not known:
        times = _seconds([each.seconds(each.max_steps) or 0.0 for each in known])
        worth = float((np.array([each.max_steps for each in known]) / times).sum())
        return _Round(math.inf, codec, workers, said * worth)
    transfer = _seconds([each.transfer_s for each in known])
    step = _seconds([each.step_s or 0.0 for each in known])
    steps = np.array([each.max_steps for each in known], np.float64)
    lengths = _lengths(aim, transfer, step, steps)
    taken = np.clip(np.floor((lengths[:, None] - transfer) / step * (1 + 1e-9)), 0.0, steps)
    # Who claims to be quick beyond measure must not make rounds in which the others hardly begin.
    counted = np.minimum(taken, np.maximum(1.0, _MOST_ABOVE * np.median(taken, 1, keepdims=True)))
    members = counted.sum(1) ** 2 / np.maximum((counted**2).sum(1), 1.0)
    going = counted.mean(1)
    worth = said * going * members / (members + aim.noise) / (lengths + telemetry.run.overhead_s)
    best = int(np.argmax(worth))
    return _Round(float(lengths[best]), codec, workers, float(worth[best]))


def _seconds(claimed: Sequence[float]) -> Float64Array:
    """Return times as they are calculated with: a client may claim any."""
    return np.clip(
        np.nan_to_num(np.array(claimed, np.float64), nan=_LONGEST_S), _INSTANT_S, _LONGEST_S
    )


def _lengths(
    aim: _Aim, transfer: Float64Array, step: Float64Array, steps: Float64Array
) -> Float64Array:
    """Return the lengths to look at: at each somebody ends a step, and enough have ended one."""
    first = np.sort(transfer + step)
    least = first[math.ceil(aim.reach * len(first)) - 1]
    counts = np.unique(np.geomspace(1, max(1.0, steps.max()), _MOST_COUNTS).round())
    ends = transfer[:, None] + np.minimum(counts, steps[:, None]) * step[:, None]
    found = np.unique(np.maximum(ends.ravel(), least))
    spread = np.linspace(0, len(found) - 1, min(len(found), _MOST_LENGTHS)).astype(int)
    chosen: Float64Array = found[spread]
    return chosen


def _steps(
    aim: _Aim, telemetry: Telemetry, draft: Draft, worker: MemberWork, length_s: float
) -> int:
    if draft.buffer is not None:
        return worker.max_steps
    if worker.step_s:
        return worker.steps_within(length_s)
    share = aim.trial * 2.0 ** min(telemetry.of(worker.client).asked, 64)
    return max(1, math.ceil(min(1.0, share) * worker.max_steps))


def _deadline(aim: _Aim, draft: Draft, best: _Round) -> float:
    # Nobody knows when those will be done who were not measured, or who are at work already.
    if math.isinf(best.length_s) or not all(each.step_s for each in best.workers):
        return draft.deadline_s
    return min(draft.deadline_s, aim.patience * best.length_s)


def _reason(best: _Round, steps: dict[str, int]) -> str:
    told = (
        []
        if best.codec is None
        else [f"{best.codec.kind} at {best.codec.arguments['bits']:g} bits"]
    )
    few, many = min(steps.values(), default=0), max(steps.values(), default=0)
    told.append(f"{few} to {many} steps" if few < many else f"{many} steps each")
    if math.isfinite(best.length_s):
        told.append(f"in {best.length_s:.3g} s")
    told.append("the most learning in a second" if best.worth > 0 else "as no speed is known yet")
    return ", ".join(told)


def _seen(telemetry: Telemetry) -> dict[str, Plain]:
    run = telemetry.run
    losses: dict[str, Plain] = {"loss": run.losses[-1][1]} if run.losses else {}
    return losses | {"overhead_s": float(f"{run.overhead_s:.6g}")}
