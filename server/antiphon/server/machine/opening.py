"""What a plan must be for a round to be opened with it, and how one exchange of a round follows another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from antiphon.core.errors import ProtocolError
from antiphon.core.events import MEASURING, TRAINING, RoundPlanned
from antiphon.server.machine.run_state import Member, RunState, Slot, counted
from antiphon.server.machine.terms import Terms, read_terms


def exchanges_of(event: RoundPlanned) -> Mapping[str, Terms]:
    """Return the exchanges that a plan names, in their order; training first, where it is not named."""
    training = Terms(event.quorum, event.deadline_s, event.enough)
    rows = event.exchanges if TRAINING in event.exchanges else {TRAINING: {}, **event.exchanges}
    read = {name: training if name == TRAINING else read_terms(row) for name, row in rows.items()}
    return {name: terms for name, terms in read.items() if terms is not None}


def collected(exchanges: Iterable[str]) -> tuple[str, ...]:
    """Return the exchanges in which the cohort answers, in their order: all but measuring."""
    return tuple(each for each in exchanges if each != MEASURING)


def next_exchange(state: RunState) -> str | None:
    """Return the exchange in which the cohort answers next; none: the round is folded."""
    names = collected(state.exchanges)
    return next(iter(names[names.index(state.exchange) + 1 :]), None)


def opened(state: RunState, name: str, now: float) -> RunState:
    """Return the state in which an exchange is open for those who have answered the one before it."""
    missed = f"it has missed the exchange {state.exchange}"
    cohort = {
        client: _next_slot(slot, state.clients[client], missed)
        for client, slot in state.cohort.items()
    }
    return collecting(replace(state, cohort=cohort), name, now)


def collecting(state: RunState, name: str, now: float) -> RunState:
    """Return the state in which an exchange is open for the cohort as it is."""
    terms = state.exchanges[name]
    return replace(
        state,
        phase="collecting",
        exchange=name,
        counts=counted(state.cohort),
        quorum=terms.fewest,
        enough=terms.enough,
        deadline=now + terms.deadline_s,
        deadline_s=terms.deadline_s,
    )


def _next_slot(slot: Slot, member: Member, missed: str) -> Slot:
    if slot.status == "accepted":
        return (
            Slot("rejected", slot.base, "revoked")
            if member.revoked
            else first_slot(member, slot.base)
        )
    if slot.status in ("rejected", "missed"):
        return slot
    return Slot("missed", slot.base, slot.reason or missed)


def check_plan(state: RunState, event: RoundPlanned) -> None:
    """Raise ProtocolError for a plan that no round can be opened with."""
    cohort = set(event.cohort)
    if cohort - set(state.clients) or len(cohort) != len(event.cohort):
        raise ProtocolError(f"a cohort is of clients that joined, each once: got {event.cohort}")
    if already := sorted(cohort & set(state.carried)):
        raise ProtocolError(f"got a cohort with {already}, who have a part of the round already")
    if event.quorum < 1 or not event.deadline_s > 0:
        raise ProtocolError(f"a round needs quorum >= 1 and deadline_s > 0: got {event}")
    if len(names := collected(exchanges_of(event))) > 1 and event.max_staleness is not None:
        raise ProtocolError(f"an asynchronous round has one exchange, training: got {names}")
    if event.enough < 0 or 0 < event.enough < event.quorum or (event.max_staleness or 0) < 0:
        raise ProtocolError(f"a round needs enough >= quorum and max_staleness >= 0: got {event}")


def first_slot(member: Member, base: int) -> Slot:
    """Return the part of a member that is new in the round's cohort."""
    if member.present:
        return Slot("assigned", base)
    return Slot("left", base, "left before it was asked")
