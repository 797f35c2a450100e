"""What the round machine must know of an exchange: how many it needs, and how long it waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.core.types import Plain


@dataclass(frozen=True)
class Terms:
    """One exchange of a round, as its plan says.

    fewest: answers that it needs; deadline_s: seconds from its opening until it closes; enough: it closes
    as soon as it has so many (0: when nobody is at work any more); everyone: those too are asked to measure
    who are at work or off line, as where measuring takes no time.
    """

    fewest: int
    deadline_s: float
    enough: int = 0
    everyone: bool = False


def read_terms(row: Mapping[str, Plain]) -> Terms | None:
    """Return an exchange as an event tells it; none: there is no such exchange (no time is given)."""
    deadline_s = row.get("deadline_s")
    if isinstance(deadline_s, str | None) or not deadline_s > 0:
        return None
    everyone = bool(row.get("everyone"))
    return Terms(int(row.get("fewest") or 0), float(deadline_s), everyone=everyone)
