"""A byte budget and a time budget for the whole run, kept by rate, work and cohort.

Before round n of N, with the bytes moved so far, those reserved for assignments still out, and B the
budget:

    left  = B − moved − reserved             share = left / (N − n + 1)

The round's bound counts, for each member, its assignment, the model and its update at the codec's upper
estimate, and the models of the evaluation. The codec's rate is the highest of a fixed scale whose bound
fits the share; where even the lowest does not, the cohort shrinks, down to the quorum. What a round
leaves over goes to the later ones. Where the smallest round does not fit the share but fits what is
left, it is run at the cost of later rounds; where it does not fit that either, the run ends. So moved ≤
B always, if nobody sends more than its codec's bound.

The time budget S works alike, with measured times. A round's share of the time bounds the transfers
(half of it) by the rate, and nine tenths of it the members' steps. The deadline never reaches past S less
the longest fold and evaluation so far; a round whose fastest quorum needs longer than that is not begun.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from antiphon.core import registry
from antiphon.core.errors import ConfigError
from antiphon.core.types import CodecChoice, Plain
from antiphon.strategies.policy.policy import Decision, Draft, Policy, Steps, Stop
from antiphon.strategies.scheduling.telemetry import Telemetry
from antiphon.strategies.scheduling.work import Worker

_SCALE = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)  # ten preferred numbers per decade
_SHRINK = 0.8
_TRANSFER_SHARE = 0.5
_WORK_SHARE = 0.9  # of a round's time: an update that arrives on the deadline is late
_PATIENCE = 2.0  # a deadline is this many times the slowest member's expected time


@dataclass(frozen=True)
class _Budget:
    bytes: int | None
    seconds: float | None
    codec: str
    min_bits: float
    max_bits: float


@dataclass(frozen=True)
class _Left:
    """Of the run, and this round's even share of it; None: no budget."""

    bytes: int | None
    share_bytes: int | None
    seconds: float | None
    share_s: float | None


@dataclass(frozen=True)
class _Round:
    """One way to hold the round. bytes: its bound."""

    size: int
    codec: CodecChoice | None
    steps: Steps
    workers: tuple[Worker, ...]
    bytes: int


def adaptive(
    *,
    bytes: int | None = None,  # noqa: A002 - the name of the config's key
    seconds: float | None = None,
    codec: str = "ecdq",
    min_bits: float = 0.25,
    max_bits: float = 8.0,
) -> Policy:
    """Keep the run below a number of bytes, seconds or both, by the codec's rate, work and cohort size.

    bytes: both ways, all clients, evaluations included; codec: one that takes `bits`; min_bits,
    max_bits: bits per parameter. Raises ConfigError where the arguments contradict each other.
    """
    budget = _Budget(bytes, seconds, codec, min_bits, max_bits)
    _check(budget)

    def decide(telemetry: Telemetry, draft: Draft, rng: np.random.Generator) -> Decision | Stop:
        return _decide(budget, telemetry, draft)

    uses = ("uplink_bytes_per_s", "downlink_bytes_per_s", "step_s")
    return Policy(decide, uses=uses if seconds is not None else ())


def _check(budget: _Budget) -> None:
    if budget.bytes is None and budget.seconds is None:
        raise ConfigError("policy adaptive has no budget: give bytes, seconds or both")
    if any(given is not None and not given > 0 for given in (budget.bytes, budget.seconds)):
        raise ConfigError(
            f"policy adaptive: a budget should be above 0, got bytes {budget.bytes} and seconds "
            f"{budget.seconds}"
        )
    if not 0 < budget.min_bits <= budget.max_bits:
        raise ConfigError(
            f"policy adaptive: expected 0 < min_bits <= max_bits, got {budget.min_bits:g} and "
            f"{budget.max_bits:g}"
        )
    if "bits" not in registry.signature("codec", budget.codec):
        raise ConfigError(
            f"policy adaptive turns a codec's `bits`, which {budget.codec} does not take: use ecdq"
        )
    for bits in (budget.min_bits, budget.max_bits):
        registry.build("codec", budget.codec, {"bits": bits})


def _decide(budget: _Budget, telemetry: Telemetry, draft: Draft) -> Decision | Stop:
    left = _left(budget, telemetry, draft)
    chosen = _chosen(budget, telemetry, draft, left)
    if isinstance(chosen, Stop):
        return chosen
    fitted = _within(chosen, left)
    needed = _fastest_s(fitted, draft.smallest)
    if left.seconds is not None and not needed < left.seconds:
        return Stop(
            f"{_spent_words(budget, telemetry)}: the smallest round takes {needed:.3g} s, "
            f"{max(0.0, left.seconds):.3g} s are left"
        )
    return Decision(
        size=fitted.size,
        steps=fitted.steps,
        codec=fitted.codec,
        deadline_s=_deadline(draft, fitted, left),
        reason=_reason(draft, fitted, left),
        seen=_seen(draft, fitted, telemetry, left),
    )


def _left(budget: _Budget, telemetry: Telemetry, draft: Draft) -> _Left:
    run, rounds = telemetry.run, draft.rounds - draft.round + 1
    moved = run.bytes_up + run.bytes_down + run.reserved_bytes
    size = None if budget.bytes is None else budget.bytes - moved
    time = None if budget.seconds is None else budget.seconds - run.seconds - run.overhead_s
    return _Left(
        size,
        None if size is None else size // rounds,
        time,
        None if time is None else time / rounds,
    )


def _chosen(budget: _Budget, telemetry: Telemetry, draft: Draft, left: _Left) -> _Round | Stop:
    """Return the largest cohort whose bound fits, at the highest rate whose transfers take no too long."""
    codecs = _codecs(budget, draft)
    for size in _sizes(draft):
        smallest = _round(telemetry, draft, size, codecs[-1])
        if _is_affordable(smallest, left):
            rounds = (_round(telemetry, draft, size, codec) for codec in codecs)
            fitting = (each for each in rounds if _is_affordable(each, left))
            return next((each for each in fitting if _is_quick(each, left)), smallest)
    if left.bytes is None or smallest.bytes <= left.bytes:
        return smallest
    return Stop(
        f"{_spent_words(budget, telemetry)}: the smallest round takes {_size_words(smallest.bytes)} at "
        f"most, {_size_words(max(0, left.bytes))} are left"
    )


def _is_affordable(chosen: _Round, left: _Left) -> bool:
    return left.share_bytes is None or chosen.bytes <= left.share_bytes


def _is_quick(chosen: _Round, left: _Left) -> bool:
    slowest = max((each.transfer_s for each in chosen.workers), default=0.0)
    return left.share_s is None or slowest <= _TRANSFER_SHARE * left.share_s


def _sizes(draft: Draft) -> Iterator[int]:
    """Yield the cohort sizes to try: each a fifth below the one before, down to the smallest."""
    size = draft.size
    yield size
    while size > draft.smallest:
        size = max(draft.smallest, min(size - 1, math.floor(size * _SHRINK)))
        yield size


def _codecs(budget: _Budget, draft: Draft) -> list[CodecChoice | None]:
    """Return the codec at its rates, the highest first; none where no client sends tensors."""
    if draft.codec is None:
        return [None]
    decades = [each * 10.0**power for power in range(-3, 2) for each in _SCALE]
    rates = {budget.min_bits, budget.max_bits} | set(decades)
    kept = sorted((r for r in rates if budget.min_bits <= r <= budget.max_bits), reverse=True)
    return [CodecChoice(budget.codec, {"bits": float(f"{each:.4g}")}) for each in kept]


def _round(telemetry: Telemetry, draft: Draft, size: int, codec: CodecChoice | None) -> _Round:
    cohort = draft.cohort(size)
    steps = draft.work(cohort, codec, draft.max_steps)
    workers = tuple(
        draft.costs.worker(telemetry.of(client), codec, steps[client]) for client in cohort
    )
    return _Round(size, codec, steps, workers, draft.costs.round_bytes(steps, codec))


def _within(chosen: _Round, left: _Left) -> _Round:
    """Return the round with the members' steps cut to its share of the time."""
    if left.share_s is None:
        return chosen
    limit_s = _WORK_SHARE * left.share_s
    steps = {each.client: each.steps_within(limit_s) for each in chosen.workers}
    return _Round(chosen.size, chosen.codec, steps, chosen.workers, chosen.bytes)


def _fastest_s(chosen: _Round, count: int) -> float:
    """Return when the count-th fastest member is done; who was not measured may be done at once."""
    times = sorted(each.seconds(1) or 0.0 for each in chosen.workers)
    return times[min(count, len(times)) - 1] if times and count else 0.0


def _deadline(draft: Draft, chosen: _Round, left: _Left) -> float:
    if left.seconds is None or left.share_s is None:
        return draft.deadline_s
    times = [each.seconds(chosen.steps[each.client]) for each in chosen.workers]
    known = [each for each in times if each is not None]
    # Half of what is left for those of whom nothing is known: a failed round would cost more.
    patience = _PATIENCE * max(known, default=0.0) if len(known) == len(times) else left.seconds / 2
    return min(draft.deadline_s, left.seconds, max(left.share_s, patience))


def _reason(draft: Draft, chosen: _Round, left: _Left) -> str:
    told = []
    if chosen.codec is not None:
        told.append(f"{chosen.codec.kind} at {chosen.codec.arguments['bits']:g} bits")
    most = max(chosen.steps.values(), default=0)
    if most < draft.max_steps:
        told.append(f"{most} steps at most")
    if left.bytes is not None:
        told.append(f"{_size_words(chosen.bytes)} at most of {_size_words(left.bytes)} left")
    if left.seconds is not None:
        told.append(f"{left.seconds:.4g} s left")
    rounds = draft.rounds - draft.round + 1
    return f"{', '.join(told)} for {rounds} round{'s' if rounds > 1 else ''}"


def _seen(
    draft: Draft, chosen: _Round, telemetry: Telemetry, left: _Left
) -> dict[str, dict[str, Plain]]:
    costs, run = draft.costs, telemetry.run
    rows: dict[str, dict[str, Plain]] = {}
    of_run: dict[str, Plain] = {}
    if left.bytes is not None:
        for client, steps in chosen.steps.items():
            rows[client] = {"most_bytes": costs.member_bytes(client, chosen.codec, steps)}
        of_run |= {
            "spent_bytes": run.bytes_up + run.bytes_down,
            "reserved_bytes": run.reserved_bytes,
            "evaluation_bytes": costs.evaluation,
        }
    if left.seconds is not None:
        of_run |= {
            "spent_s": float(f"{run.seconds:.6g}"),
            "overhead_s": float(f"{run.overhead_s:.6g}"),
        }
    rows["run"] = rows.get("run", {}) | of_run
    return rows


def _spent_words(budget: _Budget, telemetry: Telemetry) -> str:
    run = telemetry.run
    told = []
    if budget.bytes is not None:
        moved = _size_words(run.bytes_up + run.bytes_down)
        reserved = f" and {_size_words(run.reserved_bytes)} reserved" if run.reserved_bytes else ""
        told.append(f"{moved} of {_size_words(budget.bytes)} are spent{reserved}")
    if budget.seconds is not None:
        told.append(f"{run.seconds:.4g} of {budget.seconds:g} s are spent")
    return "the budget is used up, " + " and ".join(told)


def _size_words(size: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"
