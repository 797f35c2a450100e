"""Anything that can happen in a run, in any order, and the journal that the round machine makes of it."""

from dataclasses import replace

from hypothesis import strategies as st

from antiphon.core.events import (
    MEASURING,
    TRAINING,
    AnswerReceived,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    ClientRevoked,
    Evaluated,
    Event,
    ExchangeCombined,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunResumed,
    RunRewound,
    RunStopped,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.journal import Entry
from antiphon.core.types import Plain
from antiphon.server.machine.actions import Action, Combine, Conclude, Fold, PlanRound
from antiphon.server.machine.round import pending_actions, step
from antiphon.server.machine.run_state import RunState

CLIENTS = st.sampled_from("abc")
NUMBERS = st.sampled_from([0, 0, 0, 0, -1, 1])  # counted from the machine's round
HAPPENING: st.SearchStrategy[Event | float] = st.one_of(
    st.builds(ClientJoined, CLIENTS, st.just(10)),
    st.builds(ClientLeft, CLIENTS),
    st.builds(ClientRevoked, CLIENTS),
    st.builds(
        UpdateReceived,
        client=st.sampled_from(["a", "b", "c", "stranger"]),
        round=NUMBERS,
        digest=st.sampled_from("xy"),
        bytes=st.just(1),
        examples=st.just(10),
        steps=st.just(1),
    ),
    st.builds(UpdateRejected, CLIENTS, NUMBERS, st.just("bad")),
    st.builds(
        ClientFailed, CLIENTS, NUMBERS, st.just("tired"), st.sampled_from([TRAINING, MEASURING])
    ),
    st.builds(AnswerReceived, CLIENTS, NUMBERS, st.just("keys"), st.sampled_from("xy"), st.just(1)),
    st.builds(Evaluated, NUMBERS, CLIENTS, st.just(20), st.just(2.0)),
    st.sampled_from(
        [
            Ticked(),
            RunResumed(),
            RunResumed(rounds=6),
            RunStopped("enough"),
            RunStopped("spent", True),
            RunRewound(0, "damaged"),
            RunRewound(1, "damaged"),
            RunRewound(2, "damaged"),
        ]
    ),
    st.floats(0.0, 40.0),
)
ENGINE = st.sampled_from(["at once", "at once", "later", "undoes", "buffers"])
SCRIPT = st.lists(st.tuples(HAPPENING, ENGINE), max_size=60)


_OF_A_ROUND = (UpdateReceived, UpdateRejected, ClientFailed, Evaluated, AnswerReceived)


def answer(action: Action, engine: str) -> Event | None:
    """Return what an engine says when it has done what the machine asked for."""
    match action:
        case PlanRound(number, clients) if engine == "buffers":
            return RoundPlanned(number, clients, 1, 60.0, enough=1, max_staleness=1)
        case PlanRound(number, clients):
            exchanges: dict[str, dict[str, Plain]] = {MEASURING: {"deadline_s": 30.0}}
            keys: dict[str, dict[str, Plain]] = {"keys": {"fewest": 1, "deadline_s": 30.0}}
            listed = exchanges if number % 2 else keys | {TRAINING: {}}
            return RoundPlanned(number, clients, 2, 60.0, exchanges=listed)
        case Combine():
            return ExchangeCombined(action.round, action.exchange, "")
        case Fold(number, _):
            return RoundUndone(number, "bad") if engine == "undoes" else RoundFolded(number, "")
        case Conclude(number):
            undoes = engine == "undoes" and number > 0
            return RoundUndone(number, "bad") if undoes else RoundEvaluated(number)
    return None


def earlier_models(state: RunState) -> list[int]:
    """Return the rounds that a run can go back to: those with a model, but for the newest."""
    left = [each.round for each in state.outcomes if each.ending in ("folded", "undone")]
    found = [0, *left, *([state.round] if state.phase == "evaluating" and state.round else [])]
    return found[:-1]


def recorded(script: list[tuple[Event | float, str]]) -> tuple[RunState, list[Entry]]:
    """Drive the round machine and keep the journal; a number lets that many seconds pass."""
    state, now, entries = RunState(), 0.0, list[Entry]()
    for happens, engine in script:
        event: Event | None = None
        if isinstance(happens, float):
            now += happens
        else:
            event = happens
        if isinstance(event, _OF_A_ROUND):
            event = replace(event, round=state.round + event.round)
        if isinstance(event, RunRewound) and event.round not in earlier_models(state):
            continue
        while event is not None:
            state, _ = step(state, event, now)
            entries.append(Entry(len(entries) + 1, now, event))
            pending = pending_actions(state)[:1] if engine != "later" else ()
            event = answer(pending[0], engine) if pending else None
    return state, entries
