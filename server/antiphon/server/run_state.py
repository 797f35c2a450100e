"""What the round machine remembers of a run (server/round.py), as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from antiphon.core.events import RunStarted

Phase = Literal[
    "new", "waiting", "planning", "collecting", "folding", "evaluating", "complete", "stopped"
]
Status = Literal["assigned", "accepted", "failed", "rejected", "left"]
Ending = Literal["folded", "undone", "failed", "stopped"]

MAY_DELIVER: tuple[Status, ...] = ("assigned", "failed", "left")
"""Statuses of a cohort member from which an update may still come."""

_NO_RUN = RunStarted("", "", rounds=1, min_clients=1, max_failed_rounds=1)  # of the phase `new`


@dataclass(frozen=True)
class Member:
    """A client that the run has met. examples: training examples it holds."""

    examples: int
    present: bool


@dataclass(frozen=True)
class Slot:
    """One cohort member's part of the round; reason: why it failed, left or was rejected."""

    status: Status
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

    round: the one in work, or to be planned next (0: the untouched model); quorum, deadline
    (absolute seconds) and deadline_s: of the round being collected; reason: why the run is complete
    or stopped. A receipt holds the digest by which an engine finds an accepted update's bytes.
    The mappings are never changed in place.
    """

    phase: Phase = "new"
    run: RunStarted = _NO_RUN
    clients: Mapping[str, Member] = field(default_factory=dict)
    round: int = 0
    cohort: Mapping[str, Slot] = field(default_factory=dict)
    quorum: int = 0
    deadline: float = 0.0
    deadline_s: float = 0.0
    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()
    failed_in_a_row: int = 0
    reason: str = ""


def present(state: RunState) -> tuple[str, ...]:
    """Return the clients that can be given work, sorted."""
    return tuple(sorted(name for name, member in state.clients.items() if member.present))


def having(state: RunState, status: Status) -> tuple[str, ...]:
    """Return the members of the current cohort in this status, sorted."""
    return tuple(sorted(name for name, slot in state.cohort.items() if slot.status == status))
