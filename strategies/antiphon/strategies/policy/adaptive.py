"""A byte budget and a time budget for the whole run, kept by rate, work and cohort.

Before round n of N, with the bytes moved so far, those reserved for assignments still out, and B the
budget:

    left  = B − moved − reserved             share = left · c / (c + (K − 1)·c′)

The round's bound counts, for each member, its assignment, the model and its update at the codec's upper
estimate, and the models of the evaluation. c is this round's bound at the lowest rate worth its round,
c′ that of a later one, and K the number of rounds that can still be held: N − n + 1, or fewer where the
budget does not reach. In synchronous rounds c = c′; an asynchronous one asks the idle, later ones a buffer.

The codec's rate is the highest of a fixed scale whose bound fits the share. Not worth its round is a rate
where another one takes a tenth more bytes or transfer time at most: where the model that is sent out
dwarfs the update, nothing is gained by an update that says little. Where K falls below N − n + 1 the
cohort shrinks, down to the quorum, and only then are there fewer rounds. What a round leaves over goes to
the later ones. Where no round fits what is left, the run ends. So moved ≤ B always, if nobody sends more
than its codec's bound.

The time budget S works alike, with measured times. A member's time is a round's share, in asynchronous
rounds as many shares as rounds pass while it is at work; half of it bounds the transfers by the rate,
nine tenths the steps. The deadline never reaches past S less the longest fold and evaluation so far; a
round whose fastest quorum needs longer than that is not begun.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from antiphon.core.defaults import RATED
from antiphon.core.errors import ConfigError
from antiphon.core.types import CodecChoice, Plain
from antiphon.strategies.policy.policy import Decision, Draft, Policy, Steps, Stop
from antiphon.strategies.policy.rates import Rates
from antiphon.strategies.scheduling.telemetry import Telemetry
from antiphon.strategies.scheduling.work import MemberWork

_SHRINK = 0.8
_TRANSFER_SHARE = 0.5
_WORK_SHARE = 0.9  # of a round's time: an update that arrives on the deadline is late
_PATIENCE = 2.0  # a deadline is this many times the slowest member's expected time
_WORTH = (
    1.1  # a higher rate is taken for this many times the bytes or the transfer time of the lowest
)


@dataclass(frozen=True)
class _Budget:
    bytes: int | None
    seconds: float | None
    rates: Rates


@dataclass(frozen=True)
class _Left:
    """Of the run; None: no budget."""

    rounds: int
    bytes: int | None
    seconds: float | None


@dataclass(frozen=True)
class _Round:
    """One way to hold the round. bytes: its bound; held: rounds that the budgets are shared out over."""

    size: int
    codec: CodecChoice | None
    steps: Steps
    workers: tuple[MemberWork, ...]
    bytes: int
    held: int


def adaptive(
    *,
    bytes: int | None = None,  # noqa: A002 - the name of the config's key
    seconds: float | None = None,
    codec: str = RATED,
    min_bits: float = 0.25,
    max_bits: float = 8.0,
) -> Policy:
    """Keep the run below a number of bytes, seconds or both, by the codec's rate, work and cohort size.

    bytes: both ways, all clients, evaluations included; codec: one that takes `bits`; min_bits,
    max_bits: bits per parameter. Raises ConfigError where the arguments contradict each other.
    """
    budget = _Budget(bytes, seconds, Rates(codec, min_bits, max_bits))
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
    budget.rates.check("adaptive")


def _decide(budget: _Budget, telemetry: Telemetry, draft: Draft) -> Decision | Stop:
    left = _left(budget, telemetry, draft)
    chosen = _chosen(budget, telemetry, draft, left)
    if isinstance(chosen, Stop):
        return chosen
    fitted = _within(chosen, draft, left)
    # Those at work may close the round without anybody who is asked now.
    needed = 0.0 if draft.busy else _fastest_s(fitted, draft.smallest)
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
    return _Left(rounds, size, time)


def _chosen(budget: _Budget, telemetry: Telemetry, draft: Draft, left: _Left) -> _Round | Stop:
    """Return the largest cohort whose rounds fit, at the highest rate whose transfers take no too long."""
    # None where no client sends tensors.
    codecs = [None] if draft.codec is None else budget.rates.choices()
    floor = _floor([_round(telemetry, draft, draft.size, codec) for codec in codecs], left)
    for size in _sizes(draft):
        lowest = _round(telemetry, draft, size, codecs[floor])
        held, share = _held(lowest, draft, left)
        if held == left.rounds:
            break
    options = [_round(telemetry, draft, size, codec, held) for codec in codecs]
    fitting = [each for each in options if share is None or each.bytes <= share]
    if not fitting:
        return Stop(
            f"{_spent_words(budget, telemetry)}: the smallest round takes "
            f"{_size_words(options[-1].bytes)} at most, {_size_words(max(0, left.bytes or 0))} are left"
        )
    worth = [each for each in fitting if each.bytes >= lowest.bytes] or fitting[:1]
    return next((each for each in worth if _is_quick(each, draft, left)), worth[-1])


def _floor(options: Sequence[_Round], left: _Left) -> int:
    """Return the place of the highest rate that costs hardly more than the lowest, which is the last."""
    least = options[-1]

    def is_near(each: _Round) -> bool:
        dear = left.bytes is not None and each.bytes > _WORTH * least.bytes
        slow = left.seconds is not None and _transfer_s(each) > _WORTH * _transfer_s(least)
        return not (dear or slow)

    return next(at for at, each in enumerate(options) if is_near(each))


def _held(lowest: _Round, draft: Draft, left: _Left) -> tuple[int, int | None]:
    """Return how many rounds can be held at this one's rate, and this one's share of the bytes."""
    if left.bytes is None or left.bytes < lowest.bytes:
        return (left.rounds if left.bytes is None else 0), left.bytes
    members = lowest.bytes - draft.costs.evaluation
    asked = draft.buffer if draft.buffer and lowest.size else lowest.size
    later = max(1, draft.costs.evaluation + members * asked // max(1, lowest.size))
    held = min(left.rounds, 1 + (left.bytes - lowest.bytes) // later)
    share = left.bytes * lowest.bytes // max(1, lowest.bytes + (held - 1) * later)
    return held, share


def _transfer_s(chosen: _Round) -> float:
    return max((each.transfer_s for each in chosen.workers), default=0.0)


def _is_quick(chosen: _Round, draft: Draft, left: _Left) -> bool:
    member_s = _member_s(chosen, draft, left)
    return member_s is None or _transfer_s(chosen) <= _TRANSFER_SHARE * member_s


def _member_s(chosen: _Round, draft: Draft, left: _Left) -> float | None:
    """Return how long a member may be at work: in asynchronous rounds, past the end of this one."""
    if left.seconds is None:
        return None
    passing = (chosen.size + draft.busy) / draft.buffer if draft.buffer else 1.0
    return left.seconds * min(1.0, max(1.0, passing) / chosen.held)


def _sizes(draft: Draft) -> Iterator[int]:
    """Yield the cohort sizes to try: each a fifth below the one before, down to the smallest."""
    size = draft.size
    yield size
    while size > draft.smallest:
        size = max(draft.smallest, min(size - 1, math.floor(size * _SHRINK)))
        yield size


def _round(
    telemetry: Telemetry, draft: Draft, size: int, codec: CodecChoice | None, held: int = 0
) -> _Round:
    cohort = draft.cohort(size)
    steps = draft.work(cohort, codec, draft.max_steps)
    workers = tuple(
        draft.costs.worker(telemetry.of(client), codec, steps[client]) for client in cohort
    )
    return _Round(size, codec, steps, workers, draft.costs.round_bytes(steps, codec), max(1, held))


def _within(chosen: _Round, draft: Draft, left: _Left) -> _Round:
    """Return the round with the members' steps cut to their share of the time."""
    member_s = _member_s(chosen, draft, left)
    if member_s is None:
        return chosen
    limit_s = _WORK_SHARE * member_s
    steps = {each.client: each.steps_within(limit_s) for each in chosen.workers}
    return replace(chosen, steps=steps)


def _fastest_s(chosen: _Round, count: int) -> float:
    """Return when the count-th fastest member is done; who was not measured may be done at once."""
    times = sorted(each.seconds(1) or 0.0 for each in chosen.workers)
    return times[min(count, len(times)) - 1] if times and count else 0.0


def _deadline(draft: Draft, chosen: _Round, left: _Left) -> float:
    if left.seconds is None:
        return draft.deadline_s
    times = [each.seconds(chosen.steps[each.client]) for each in chosen.workers]
    known = [each for each in times if each is not None]
    # Half of what is left for those of whom nothing is known: a failed round would cost more. Of those
    # whom an asynchronous round has from earlier ones it is not known how far they are.
    waits = len(known) < len(times) or draft.buffer is not None
    patience = left.seconds / 2 if waits else _PATIENCE * max(known, default=0.0)
    return min(draft.deadline_s, left.seconds, max(left.seconds / chosen.held, patience))


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
    rounds = f"{left.rounds} round{'s' if left.rounds > 1 else ''}"
    return (
        f"{', '.join(told)} for {f'{chosen.held} of ' if chosen.held < left.rounds else ''}{rounds}"
    )


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
