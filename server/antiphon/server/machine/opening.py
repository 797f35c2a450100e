"""What a plan must be for a round to be opened with it, and what the round is then."""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.core.errors import ProtocolError
from antiphon.core.events import TRAINING, RoundPlanned
from antiphon.server.machine.run_state import Member, RunState, Slot
from antiphon.server.machine.terms import Terms, read_terms


def exchanges_of(event: RoundPlanned) -> Mapping[str, Terms]:
    """Return the exchanges that a plan names, training first."""
    read = {name: read_terms(row) for name, row in event.exchanges.items() if name != TRAINING}
    later = {name: terms for name, terms in read.items() if terms is not None}
    return {TRAINING: Terms(event.quorum, event.deadline_s)} | later


def check_plan(state: RunState, event: RoundPlanned) -> None:
    """Raise ProtocolError for a plan that no round can be opened with."""
    cohort = set(event.cohort)
    if cohort - set(state.clients) or len(cohort) != len(event.cohort):
        raise ProtocolError(f"a cohort is of clients that joined, each once: got {event.cohort}")
    if already := sorted(cohort & set(state.carried)):
        raise ProtocolError(f"got a cohort with {already}, who have a part of the round already")
    if event.quorum < 1 or not event.deadline_s > 0:
        raise ProtocolError(f"a round needs quorum >= 1 and deadline_s > 0: got {event}")
    if event.enough < 0 or 0 < event.enough < event.quorum or (event.max_staleness or 0) < 0:
        raise ProtocolError(f"a round needs enough >= quorum and max_staleness >= 0: got {event}")


def first_slot(member: Member, base: int) -> Slot:
    """Return the part of a member that is new in the round's cohort."""
    if member.present:
        return Slot("assigned", base)
    return Slot("left", base, "left before the round was planned")
