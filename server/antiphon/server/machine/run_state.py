"""What the round machine remembers of a run (server/machine/round.py), as values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from antiphon.core.events import MEASURING, TRAINING, RunStarted
from antiphon.server.machine.bench import Bench, off_the_bench
from antiphon.server.machine.terms import Terms, read_terms

Phase = Literal[
    "new",
    "waiting",
    "planning",
    "collecting",
    "combining",
    "folding",
    "evaluating",
    "complete",
    "stopped",
]
Status = Literal["assigned", "accepted", "failed", "rejected", "left", "missed"]
Ending = Literal["folded", "undone", "failed", "stopped", "rewound"]

OPEN: tuple[Phase, ...] = ("collecting", "combining", "folding", "evaluating")
"""Phases in which a round is open: planned, and not over."""

ON_THE_WAY: tuple[Status, ...] = ("assigned", "left")
"""Statuses of a cohort member whose work an asynchronous round leaves to the next one."""

UNFOLDED: tuple[Status, ...] = (*ON_THE_WAY, "accepted")
"""Statuses of those whose update may still be folded with a later asynchronous round."""

MAY_DELIVER: tuple[Status, ...] = ("assigned", "failed", "left")
"""Statuses of a cohort member from which an update may still come."""

_NOBODY: Mapping[Status, int] = dict.fromkeys(get_args(Status), 0)
_NO_RUN = RunStarted("", "", rounds=1, min_clients=1, max_failed_rounds=1)  # of the phase `new`


@dataclass(frozen=True)
class Member:
    """A client that the run has met.

    examples: training examples it holds, 0: not told; revoked: since it joined.
    """

    examples: int
    present: bool
    revoked: bool = False


@dataclass(frozen=True)
class Slot:
    """One cohort member's part of the round, in the exchange that is open.

    base: the round whose model and assignment it has; reason: why it failed, left or was rejected. Who has
    `missed` an exchange of the round has no part in the later ones.
    """

    status: Status
    base: int
    reason: str = ""


@dataclass(frozen=True)
class Receipt:
    """The last update that was accepted from a client. digest: hex SHA-256 of its bytes."""

    round: int
    digest: str


@dataclass(frozen=True)
class Outcome:
    """How a round ended. accepted, rejected: clients, sorted; reason: empty for a folded round."""

    round: int
    ending: Ending
    reason: str
    accepted: tuple[str, ...]
    rejected: tuple[str, ...]


@dataclass(frozen=True)
class RunState:
    """Everything the machine remembers; two states are equal if they act alike from here on.

    round: the one in work, or to be planned next (0: the untouched model); counts: how many of the cohort
    are in each status, so that no step has to count them; of the newest round that was opened: exchanges,
    by name, in their order; exchange: the one that is open, or was last; answers: to its exchanges but
    measuring, hex digests by exchange and client, those of training once it is closed; quorum, enough,
    deadline (absolute seconds), deadline_s: of its exchange that was opened last; opened: when it was,
    absolute seconds; max_staleness: as in its plan; measuring: who was asked to measure its model, and
    what has become of it; measurers: how many of them are waited for. carried: between two asynchronous
    rounds, the members of the next one's cohort that have begun before it; folded: by client, where the
    last of its updates began that is in the model; benches: by client, who has failed since its last
    accepted update; not_before: absolute seconds, until which no round is planned; reason: why the run is
    complete or stopped. A receipt holds the digest by which an engine finds an accepted update's bytes.
    The mappings are never changed in place.
    """

    phase: Phase = "new"
    run: RunStarted = _NO_RUN
    clients: Mapping[str, Member] = field(default_factory=dict)
    round: int = 0
    cohort: Mapping[str, Slot] = field(default_factory=dict)
    counts: Mapping[Status, int] = field(default_factory=lambda: _NOBODY)
    exchanges: Mapping[str, Terms] = field(default_factory=dict)
    exchange: str = TRAINING
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    measuring: Mapping[str, Slot] = field(default_factory=dict)
    measurers: int = 0
    quorum: int = 0
    deadline: float = 0.0
    deadline_s: float = 0.0
    opened: float = 0.0
    enough: int = 0
    max_staleness: int | None = None
    carried: Mapping[str, Slot] = field(default_factory=dict)
    folded: Mapping[str, int] = field(default_factory=dict)
    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()
    failed_in_a_row: int = 0
    benches: Mapping[str, Bench] = field(default_factory=dict)
    not_before: float = 0.0
    reason: str = ""


def changed(state: RunState, **fields: Any) -> RunState:
    """Return the state with other fields, as `replace` does in five times the time.

    For what happens once for each update: most of the steps of a replay.
    """
    after = object.__new__(RunState)
    after.__dict__.update(state.__dict__, **fields)
    return after


def present(state: RunState) -> tuple[str, ...]:
    """Return the clients that can be given work, sorted."""
    return tuple(sorted(name for name, member in state.clients.items() if member.present))


def enough_present(state: RunState) -> bool:
    """Whether as many clients are there as must be before a round is planned."""
    needed, members = state.run.min_clients, state.clients.values()
    # While a fleet of thousands joins, this is asked with each of them.
    return len(members) >= needed and sum(member.present for member in members) >= needed


def idle(state: RunState) -> tuple[str, ...]:
    """Return the clients that are present and have no part of the next round yet, sorted."""
    return tuple(each for each in present(state) if each not in state.carried)


def eligible(state: RunState) -> tuple[str, ...]:
    """Return the idle clients that the next round is planned over, sorted; see server/machine/bench.py."""
    fewest = max(1, state.run.fewest) - len(busy(state))
    return off_the_bench(state.benches, idle(state), state.round, fewest)


def busy(state: RunState) -> tuple[str, ...]:
    """Return the clients of the next round that are at work already, or done, sorted."""
    carried = state.carried.items()
    return tuple(sorted(name for name, slot in carried if slot.status != "left"))


def slots(state: RunState) -> Mapping[str, Slot]:
    """Return the slots that what arrives now may be for: of the open round, else of the next one."""
    return state.cohort if state.phase == "collecting" else state.carried


def slot_of(state: RunState, client: str) -> Slot | None:
    """Return a client's slot of the open round, else of the next one; none: it has no part of it."""
    return slots(state).get(client)


def may_deliver(state: RunState, client: str, base: int, exchange: str = TRAINING) -> bool:
    """Whether an update that began in round `base` may still count, as no other of its client has; for
    another exchange, whether an answer may.
    """
    slot = slot_of(state, client)
    awaited = slot is not None and slot.base == base and slot.status in MAY_DELIVER
    return awaited and state.exchange == exchange


def is_assigned(state: RunState, client: str, number: int, exchange: str = TRAINING) -> bool:
    """Whether this client is waited for, with what it was given in an exchange of round `number`."""
    slot = state.measuring.get(client) if exchange == MEASURING else slot_of(state, client)
    is_open = exchange in (state.exchange, MEASURING)
    return is_open and slot is not None and slot.base == number and slot.status == "assigned"


def is_wanted(state: RunState, client: str, number: int, exchange: str) -> bool:
    """Whether what a client does in an exchange of round `number` is waited for, or has been accepted."""
    measures = exchange == MEASURING
    slot = (state.measuring if measures else slots(state)).get(client)
    is_open = measures or exchange == state.exchange
    known = slot is not None and slot.base == number and slot.status in ("assigned", "accepted")
    return is_open and known


def is_measuring(state: RunState) -> bool:
    """Whether anybody is waited for who measures the round's model."""
    return state.measurers > 0


def measuring_terms(state: RunState) -> Terms | None:
    """Return how the model of the round in work is measured; none: it is not."""
    if state.round == 0:
        return read_terms(state.run.measuring)
    return state.exchanges.get(MEASURING)


def next_plan(state: RunState) -> int:
    """Return the number of the next round that can be planned."""
    return state.round + (state.phase in OPEN)


def next_fold(state: RunState) -> int:
    """Return the round that folds what is accepted now."""
    return state.round + (state.phase in ("folding", "evaluating"))


def counted(cohort: Mapping[str, Slot]) -> Mapping[Status, int]:
    """Return how many of a cohort are in each status, zeros too."""
    return {**_NOBODY, **Counter(slot.status for slot in cohort.values())}


def updated(state: RunState) -> tuple[str, ...]:
    """Return the clients whose updates the open round folds, as far as they have come, sorted."""
    if state.exchange == TRAINING:
        return having(state, "accepted")
    return tuple(sorted(state.answers.get(TRAINING, ())))


def having(state: RunState, status: Status) -> tuple[str, ...]:
    """Return the members of the current cohort in this status, sorted."""
    return tuple(sorted(name for name, slot in state.cohort.items() if slot.status == status))
