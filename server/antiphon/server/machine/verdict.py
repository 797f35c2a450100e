"""What becomes of an update: it counts once, from its cohort, for the open round, or it does not.

An update is labelled with the round in which it began. Between two asynchronous rounds it counts for the
next one, as long as that is not too many rounds later.
"""

from __future__ import annotations

from typing import Literal

from antiphon.core.events import MEASURING, TRAINING, AnswerReceived, UpdateReceived
from antiphon.server.machine.run_state import OPEN, Receipt, RunState, next_fold, slot_of

Verdict = Literal["accepted", "duplicate", "late", "rejected", "unknown"]


def judge(state: RunState, event: UpdateReceived) -> tuple[Verdict, str]:
    """Return what becomes of an update in this state, and why (empty for good news).

    The deadline is not looked at here: the machine has closed a round that is due.
    """
    if event.client not in state.clients:
        return "unknown", f"no client {event.client!r} has joined this run: join first"
    if state.receipts.get(event.client) == Receipt(event.round, event.digest):
        return "duplicate", ""
    newest = max(0, state.round - (state.phase in ("new", "waiting", "planning")))
    if not 1 <= event.round <= newest:
        return "rejected", f"round {event.round} has not been opened; the newest is {newest}"
    others = event.round == state.round and state.exchange != TRAINING
    if others and state.phase in ("collecting", "combining"):
        return _out_of_turn(state, TRAINING)
    slot = slot_of(state, event.client)
    if slot is None or slot.base != event.round:
        return _not_awaited(state, event, newest)
    if slot.status == "missed":
        return "rejected", slot.reason
    if slot.status == "accepted":
        return "rejected", f"another update for round {event.round} has been accepted already"
    if slot.status == "rejected":
        return "rejected", f"an update for round {event.round} was refused: {slot.reason}"
    return "accepted", ""


def judge_answer(state: RunState, event: AnswerReceived) -> tuple[Verdict, str]:
    """Return what becomes of an answer to an exchange that is neither training nor measuring, and why."""
    if event.client not in state.clients:
        return "unknown", f"no client {event.client!r} has joined this run: join first"
    if event.round != state.round or state.phase not in OPEN:
        ended = state.phase in ("complete", "stopped") and event.round == state.round
        if 1 <= event.round < state.round or ended:
            return "late", f"round {event.round} is closed"
        return "rejected", f"round {event.round} has not been opened"
    if state.answers.get(event.exchange, {}).get(event.client) == event.digest:
        return "duplicate", ""
    if event.exchange not in state.exchanges or event.exchange in (TRAINING, MEASURING):
        return "rejected", f"round {event.round} has no exchange {event.exchange[:64]!r}"
    if event.exchange != state.exchange or state.phase != "collecting":
        return _out_of_turn(state, event.exchange)
    slot = state.cohort.get(event.client)
    if slot is None:
        return "rejected", f"{event.client!r} is not in the cohort of round {event.round}"
    if slot.status == "accepted":
        return "rejected", f"another answer to {event.exchange} has been accepted already"
    if slot.status in ("rejected", "missed"):
        return "rejected", slot.reason
    return "accepted", ""


def _out_of_turn(state: RunState, exchange: str) -> tuple[Verdict, str]:
    names = list(state.exchanges)
    if names.index(exchange) <= names.index(state.exchange):
        return "late", f"the exchange {exchange} of round {state.round} is closed"
    return "rejected", f"round {state.round} has not come to its exchange {exchange}"


def _not_awaited(state: RunState, event: UpdateReceived, newest: int) -> tuple[Verdict, str]:
    staleness = next_fold(state) - event.round
    if state.max_staleness is not None and staleness > state.max_staleness:
        return "rejected", (
            f"too stale: it began in round {event.round}, {staleness} rounds before the one that would "
            f"fold it, and at most {state.max_staleness} are allowed (max_staleness)"
        )
    if event.round < newest or state.phase != "collecting":
        return "late", f"round {event.round} is closed"
    return "rejected", f"{event.client!r} is not in the cohort of round {event.round}"
