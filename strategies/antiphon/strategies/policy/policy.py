"""What decides a round, as a value: a draft goes in, a decision with one sentence of reason comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from antiphon.core.types import CodecChoice, Plain
from antiphon.strategies.policy.costs import Costs
from antiphon.strategies.scheduling.telemetry import Telemetry

Steps = Mapping[str, int]
"""Local steps of each member of a cohort, by name."""


@dataclass(frozen=True)
class Draft:
    """What the config and the scheduler propose for a round.

    rounds: of the whole run; size: updates to be asked for, before over-selection; smallest: the fewest
    that a policy may ask for instead; deadline_s: seconds; codec: of the uplink, none where no client
    of the run sends tensors. cohort(size) → the scheduler's choice, over-selection included;
    work(cohort, codec, most) → steps of each, none above `most` or above the config's max_steps.
    busy: clients at work already, of earlier rounds; buffer: the updates that close an asynchronous
    round, which are as many as each later round asks for (none: rounds wait for their cohorts).
    """

    round: int
    rounds: int
    size: int
    smallest: int
    max_steps: int
    deadline_s: float
    codec: CodecChoice | None
    costs: Costs
    cohort: Callable[[int], tuple[str, ...]]
    work: Callable[[Sequence[str], CodecChoice | None, int], dict[str, int]]
    busy: int = 0
    buffer: int | None = None


@dataclass(frozen=True)
class Decision:
    """One round. size: updates to be asked for, before over-selection; steps: of each member of the cohort.

    reason: one clause, which ends the plan's sentence; seen: what the decision rests on, a row per
    client and `run`. A client's `most_bytes` and the run's `evaluation_bytes` are reserved until they
    have been moved.
    """

    size: int
    steps: Steps
    codec: CodecChoice | None
    deadline_s: float
    reason: str
    seen: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict)


@dataclass(frozen=True)
class Stop:
    """The run ends before this round. reason: one sentence."""

    reason: str


Decide = Callable[[Telemetry, Draft, np.random.Generator], Decision | Stop]


@dataclass(frozen=True)
class Policy:
    """decide(telemetry, draft, rng) → the round; it is pure, and rng is its only chance.

    smallest: the smallest cohort that it may ask for of its own, whatever the quorum (none: it keeps to
    the draft's). uses: the fields of ClientTelemetry that it reads; the plan keeps them.
    """

    decide: Decide
    smallest: int | None = None
    uses: tuple[str, ...] = ()


def as_drafted(draft: Draft, reason: str) -> Decision:
    """Return the decision that changes nothing."""
    steps = draft.work(draft.cohort(draft.size), draft.codec, draft.max_steps)
    return Decision(draft.size, steps, draft.codec, draft.deadline_s, reason)
