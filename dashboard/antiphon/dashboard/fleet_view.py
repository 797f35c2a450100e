"""The clients of a run, and of the coordinator's fleet: machines, bytes, failures, certificates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.home import fleet_folder
from antiphon.core.types import Plain
from antiphon.dashboard.history import History
from antiphon.server.enrolment.ledger import FleetMember, Ledger, ledger_file

_FAILURES = ("failed", "rejected", "left", "unfinished", "diverged", "revoked")


@dataclass(frozen=True)
class ClientView:
    """One client of a run.

    present: it can be given work; heard_at: seconds on the engine's clock, None: never; memory_bytes,
    tokens_per_s: as it said itself, None: it did not; problems: how often it failed, left, …, by kind.
    """

    name: str
    present: bool
    examples: int
    heard_at: float | None
    device: str
    memory_bytes: int | None
    tokens_per_s: float | None
    updates: int
    problems: Mapping[str, int]
    last_reason: str


def clients_of(history: History) -> tuple[ClientView, ...]:
    """Return the clients that ever joined a run, by name."""
    run = history.chronicle
    problems: dict[str, Counter[str]] = {}
    reasons: dict[str, str] = {}
    for each in run.problems:
        if each["client"] is not None and each["what"] in _FAILURES:
            problems.setdefault(each["client"], Counter())[each["what"]] += 1
            reasons[each["client"]] = f"round {each['round']}, {each['what']}: {each['reason']}"
    updates = Counter(client for each in run.rounds.values() for client in each.accepted)
    return tuple(
        ClientView(
            name=name,
            present=member.present,
            examples=member.examples,
            heard_at=history.heard_at.get(name),
            device=_device(history.described.get(name, {})),
            memory_bytes=_whole(_number(history.described.get(name, {}), "memory_bytes")),
            tokens_per_s=_number(history.described.get(name, {}), "tokens_per_s"),
            updates=updates[name],
            problems=problems.get(name, {}),
            last_reason=reasons.get(name, ""),
        )
        for name, member in sorted(run.machine.clients.items())
    )


def members_of(home: Path) -> list[FleetMember] | None:
    """Return who is in the fleet of a home folder, by name; none: it has no fleet.

    Raises IdentityError where the ledger cannot be read.
    """
    file = ledger_file(fleet_folder(home))
    if not file.is_file():  # opening the ledger would make one
        return None
    ledger = Ledger(file)
    try:
        return ledger.clients()
    finally:
        ledger.close()


def _device(facts: Mapping[str, Plain]) -> str:
    return str(facts.get("device_name") or facts.get("device") or "")


def _number(facts: Mapping[str, Plain], name: str) -> float | None:
    value = facts.get(name)
    known = isinstance(value, int | float) and math.isfinite(value) and value > 0
    return float(value) if known and value is not None else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
