"""Why a run waits, in one sentence for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from antiphon.core.events import TRAINING
from antiphon.server.machine.run_state import (
    RunState,
    having,
    is_measuring,
    present,
    slots,
    updated,
)

_MOST_NAMES = 5


def why_waiting(state: RunState, now: float, *, at_work: bool = True) -> str:
    """Return one sentence on what the run waits for at `now` (seconds), for people.

    at_work: an engine drives the run; without one no deadline runs, and it begins anew with a resume.
    """
    where = f"round {state.round}" if state.round else "before the first round"
    match state.phase:
        case "new":
            return "the run has not started"
        case "waiting":
            here, needed = len(present(state)), state.run.min_clients
            if here >= needed:
                return f"{where}: {_pause(state, now)}"
            return f"{where}: waiting for clients ({here} of the {needed} needed are here)"
        case "planning":
            return f"{where}: waiting for the plan over {_count(len(present(state)), 'client')}"
        case "collecting":
            return f"{where}: {_waiting_for_updates(state, now if at_work else None)}"
        case "combining":
            answers = _count(len(having(state, "accepted")), "answer")
            return f"{where}: combining {answers} to the exchange {state.exchange}"
        case "folding":
            folded = _count(len(updated(state)), "update")
            return f"{where}: folding {folded}{_of_earlier_rounds(state)}"
        case "evaluating":
            what = "the model" if state.round else "the untouched model"
            if is_measuring(state):
                return (
                    f"{where}: {_waiting_for_measurements(state, what, now if at_work else None)}"
                )
            return f"{where}: waiting for the evaluation of {what}{_of_earlier_rounds(state)}"
        case "complete" | "stopped":
            return f"{state.phase}: {state.reason or 'no reason was given'}"


def _pause(state: RunState, now: float) -> str:
    failed = _count(state.failed_in_a_row, "failed round")
    in_a_row = " in a row" if state.failed_in_a_row > 1 else ""
    left = _duration(max(0.0, state.not_before - now))
    return f"a pause after {failed}{in_a_row}, {left} to go, less if a client joins"


def _waiting_for_measurements(state: RunState, what: str, now: float | None) -> str:
    asked = sorted(name for name, slot in state.measuring.items() if slot.status == "assigned")
    count = _count(len(asked), "measurement")
    return f"waiting for {count} of {what} ({_named(asked)}){_until(state, now)}{_of_earlier_rounds(state)}"


def _named(clients: Sequence[str]) -> str:
    more = len(clients) - _MOST_NAMES
    return ", ".join(clients[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _waiting_for_updates(state: RunState, now: float | None) -> str:
    waited_for = having(state, "assigned")
    names = _named(waited_for)
    away = having(state, "left")
    gone = f"{_count(len(away), 'client')} away, " if away else ""
    who = f" ({names})" if names else ""
    missing, of = len(waited_for), len(state.cohort) - len(having(state, "missed"))
    if state.enough:
        missing, of = max(0, state.enough - len(having(state, "accepted"))), state.enough
    what, to = "update", ""
    if state.exchange != TRAINING:
        what, to = "answer", f" to the exchange {state.exchange}"
    return (
        f"waiting for {missing} of {_count(of, what)}{to}{who}, "
        f"{gone}quorum {state.quorum}{_until(state, now)}{_of_earlier_rounds(state)}"
    )


def _until(state: RunState, now: float | None) -> str:
    if now is None:
        return ""
    left = state.deadline - now
    if math.isinf(left):
        return ", no deadline"
    return f", deadline in {_duration(left)}" if left > 0 else ", the deadline has passed"


def _of_earlier_rounds(state: RunState) -> str:
    opened = state.round + (state.phase != "collecting")
    at_work = [slot for slot in slots(state).values() if slot.status == "assigned"]
    earlier = sum(slot.base < opened for slot in at_work)
    return f"; {earlier} of earlier rounds still at work" if earlier else ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
