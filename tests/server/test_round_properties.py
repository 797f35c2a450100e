"""The round machine under random fleets: joins, drops, late and corrupt updates, crashes.

The driver below is an engine without I/O. It journals what changed the state, as JSON, and a crash
throws away all but that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon.core.event_json import decode, encode
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
    RunStarted,
    RunStopped,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.types import Plain
from antiphon.server.machine.actions import (
    Action,
    Assign,
    CancelAssignment,
    Combine,
    Conclude,
    Finish,
    Fold,
    PlanRound,
    Reply,
)
from antiphon.server.machine.bench import is_benched
from antiphon.server.machine.round import next_deadline, pending_actions, replay, step
from antiphon.server.machine.run_state import (
    RunState,
    Slot,
    busy,
    counted,
    eligible,
    having,
    idle,
    is_assigned,
    is_measuring,
    present,
    slots,
)
from antiphon.server.machine.waiting import why_waiting

CLIENTS = ("anna", "bela", "carl", "dora", "emil")
ENDS = ("complete", "stopped")
PARTS = ("assigned", "accepted", "failed", "left")

clients = st.sampled_from((*CLIENTS, "stranger"))
offsets = st.integers(-2, 2)
digests = st.sampled_from("xy")
names = st.sampled_from(["keys", "unmask", TRAINING, TRAINING])
ROW: dict[str, Plain] = {"fewest": 1, "deadline_s": 25.0}
SEVERAL = [[TRAINING], ["keys", TRAINING], ["keys", TRAINING, "unmask"]]
rows = st.sampled_from(
    [{}, {"deadline_s": 20.0}, {"deadline_s": 20.0}, {"deadline_s": 3.0, "everyone": True}]
)


class Run(RuleBasedStateMachine):
    """One run: what the machine answered so far, and a journal to begin again from."""

    def __init__(self) -> None:
        super().__init__()
        self.state = RunState()
        self.now = 0.0
        self.journal: list[tuple[str, str, float]] = []
        self.counted: list[tuple[str, int]] = []
        self.last: dict[str, UpdateReceived] = {}
        self.assigned: set[tuple[str, int, str]] = set()
        self.folded: list[tuple[str, int]] = []

    def feed(self, event: Event) -> tuple[Action, ...]:
        before = self.state
        self.state, actions = step(before, event, self.now)
        if self.state != before:
            self.journal.append((*encode(event), self.now))
        for action in actions:
            self.look_at(action, event)
        gone, new = at_work(before) - at_work(self.state), at_work(self.state) - at_work(before)
        called_off = {part(a) for a in actions if isinstance(a, CancelAssignment)}
        assert {each for each in gone if each[0] != getattr(event, "client", "")} <= called_off
        assert not called_off & at_work(self.state)
        for reply in (a for a in actions if isinstance(a, Reply) and a.verdict == "accepted"):
            assert slots_of(before, reply.exchange)[reply.client].base == reply.round
        assert new <= {part(a) for a in actions if isinstance(a, Assign)}
        return actions

    def look_at(self, action: Action, event: Event) -> None:
        if isinstance(action, Assign):
            assert action.deadline > self.now
            assert self.state.clients[action.client].present or action.exchange == MEASURING
            self.assigned.add(part(action))
        if isinstance(action, Conclude):
            assert not is_measuring(self.state)
        if isinstance(action, Reply) and action.verdict == "accepted":
            assert part(action) in self.assigned
            if action.exchange != TRAINING:
                assert isinstance(event, Evaluated | AnswerReceived)
                return
            assert isinstance(event, UpdateReceived)
            self.counted.append((action.client, action.round))
            self.last[action.client] = event
        if isinstance(action, Fold):
            assert action.clients == tuple(sorted(action.clients))
            assert len(action.clients) >= self.state.exchanges[TRAINING].fewest
            began = [(each, self.state.receipts[each].round) for each in action.clients]
            assert set(began) <= set(self.counted)
            most = self.state.max_staleness or 0
            assert all(0 <= action.round - base <= most for _, base in began)
            self.fold(began)

    def fold(self, began: list[tuple[str, int]]) -> None:
        """Note what a fold takes; a crash may have it done again."""
        if self.folded[-len(began) :] != began:
            assert not set(self.folded) & set(began)
            self.folded += began

    @initialize(
        rounds=st.integers(1, 6),
        needed=st.integers(1, 3),
        failures=st.integers(1, 3),
        fewest=st.integers(0, 3),
        measuring=rows,
    )
    def start(
        self, rounds: int, needed: int, failures: int, fewest: int, measuring: dict[str, Plain]
    ) -> None:
        for client in CLIENTS[:3]:
            self.feed(ClientJoined(client, 10))
        fewest = min(fewest, needed)
        self.feed(RunStarted("run", "hash", rounds, needed, failures, fewest, "", measuring))
        for client in CLIENTS[:3]:
            self.feed(Evaluated(0, client, 10, loss=2.0))
        self.feed(RoundEvaluated(0))

    @rule(client=st.sampled_from(CLIENTS), examples=st.integers(0, 100))
    def join(self, client: str, examples: int) -> None:
        self.feed(ClientJoined(client, examples))

    @rule(client=clients)
    def leave(self, client: str) -> None:
        self.feed(ClientLeft(client, "lease ran out"))

    @rule(client=clients)
    def revoke(self, client: str) -> None:
        waited_for = {name for name, slot in slots(self.state).items() if slot.status != "rejected"}
        self.feed(ClientRevoked(client))
        assert client not in present(self.state)
        slot = slots(self.state).get(client)
        assert slot is None or client not in waited_for or slot.status == "rejected"

    @precondition(lambda self: bool(slots(self.state)))
    @rule(data=st.data(), digest=digests)
    def deliver(self, data: Any, digest: str) -> None:
        client = data.draw(st.sampled_from(sorted(slots(self.state))))
        self.feed(UpdateReceived(client, slots(self.state)[client].base, digest, 9, 10, 6))

    @rule(client=clients, offset=offsets, digest=digests)
    def deliver_out_of_turn(self, client: str, offset: int, digest: str) -> None:
        self.feed(UpdateReceived(client, self.state.round + offset, digest, 9, 10, 6))

    @precondition(lambda self: bool(self.last))
    @rule(data=st.data())
    def deliver_again(self, data: Any) -> None:
        event = self.last[data.draw(st.sampled_from(sorted(self.last)))]
        before = self.state
        replies = [each for each in self.feed(event) if isinstance(each, Reply)]
        assert [each.verdict for each in replies] == ["duplicate"]
        assert self.state.receipts == before.receipts

    @rule(client=clients, offset=offsets, exchange=names)
    def deliver_garbage(self, client: str, offset: int, exchange: str) -> None:
        self.feed(UpdateRejected(client, self.state.round + offset, "NaN", exchange))

    @rule(client=clients, offset=offsets, exchange=names)
    def fail(self, client: str, offset: int, exchange: str) -> None:
        self.feed(ClientFailed(client, self.state.round + offset, "out of memory", exchange))

    @rule(client=clients, offset=offsets, exchange=names, digest=digests)
    def answer(self, client: str, offset: int, exchange: str, digest: str) -> None:
        number = self.state.round + offset
        self.feed(AnswerReceived(client, number, exchange, digest, 9))

    @rule(client=clients, offset=offsets)
    def measure(self, client: str, offset: int) -> None:
        before = is_assigned(self.state, client, self.state.round + offset, MEASURING)
        answered = self.feed(Evaluated(self.state.round + offset, client, 10, loss=2.0))
        accepted = [each for each in answered if isinstance(each, Reply)]
        assert len(accepted) <= before

    @rule(client=clients, offset=offsets)
    def fail_to_measure(self, client: str, offset: int) -> None:
        benches = self.state.benches
        self.feed(ClientFailed(client, self.state.round + offset, "no memory", MEASURING))
        assert self.state.benches == benches

    @rule(seconds=st.floats(0, 40))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.feed(Ticked())

    @rule(data=st.data())
    def work(self, data: Any) -> None:
        for action in pending_actions(self.state):
            answer = answer_to(action, data)
            if answer is not None:
                self.feed(answer)

    @rule(data=st.data(), happenings=st.integers(3, 12))
    def proceed(self, data: Any, happenings: int) -> None:
        """All goes well for a while: without it, few random runs get as far as a second round."""
        for _ in range(happenings):
            asked = pending_actions(self.state)
            answer = answer_to(asked[0], data) if asked else None
            if answer is None and (working := sorted(at_work(self.state))):
                client, base, exchange = data.draw(st.sampled_from(working))
                answer = UpdateReceived(client, base, "z", 9, 10, 6)
                if exchange == MEASURING:
                    answer = Evaluated(base, client, 10, loss=2.0)
                elif exchange != TRAINING:
                    answer = AnswerReceived(client, base, exchange, "z", 9)
            if answer is not None:
                self.feed(answer)

    @rule(downtime=st.floats(0, 1000))
    def crash(self, downtime: float) -> None:
        before = self.state
        self.state = replayed(self.journal)
        assert self.state == before
        assert pending_actions(self.state) == pending_actions(before)
        self.now += downtime
        asked = self.feed(RunResumed())
        assert asked == pending_actions(self.state)

    @precondition(lambda self: self.state.round > 1)
    @rule(by_policy=st.booleans())
    def stop(self, by_policy: bool) -> None:
        self.feed(RunStopped("enough", by_policy))
        assert self.state.phase in ENDS

    @invariant()
    def no_update_counts_twice(self) -> None:
        assert len(self.counted) == len(set(self.counted))

    @invariant()
    def waiting_is_explained(self) -> None:
        sentence = why_waiting(self.state, self.now)
        assert sentence
        assert "\n" not in sentence

    @invariant()
    def everybody_present_is_idle_or_busy(self) -> None:
        assert set(idle(self.state)) == set(present(self.state)) - set(busy(self.state))

    @invariant()
    def nothing_grows_too_stale(self) -> None:
        number = self.state.round + (self.state.phase in ("folding", "evaluating"))
        most = self.state.max_staleness or 0
        assert all(0 <= number - slot.base <= most for slot in slots(self.state).values())
        assert self.state.phase not in ENDS or not self.state.carried

    @invariant()
    def rounds_end_once_and_in_order(self) -> None:
        ended = [outcome.round for outcome in self.state.outcomes]
        assert ended == list(range(1, len(ended) + 1))

    @invariant()
    def the_benched_are_planned_with_only_where_too_few_are_left(self) -> None:
        here = eligible(self.state)
        assert set(here) <= set(idle(self.state))
        number = self.state.round
        early = [each for each in here if is_benched(self.state.benches, each, number)]
        fewest = max(1, self.state.run.fewest) - len(busy(self.state))
        assert not early or len(here) <= fewest
        assert len(here) >= min(fewest, len(idle(self.state)))

    @invariant()
    def who_has_missed_an_exchange_has_no_part_in_a_later_one(self) -> None:
        if self.state.phase in ("collecting", "combining"):
            names = [each for each in self.state.exchanges if each != MEASURING]
            before = names[: names.index(self.state.exchange)]
            takes_part = {n for n, s in self.state.cohort.items() if s.status in PARTS}
            for each in before:
                assert takes_part <= set(self.state.answers[each])

    @invariant()
    def the_cohort_is_counted(self) -> None:
        assert self.state.counts == counted(self.state.cohort)
        measuring = self.state.measuring.values()
        assert self.state.measurers == sum(each.status == "assigned" for each in measuring)

    @invariant()
    def collecting_waits_for_somebody(self) -> None:
        if self.state.phase == "collecting":
            assert having(self.state, "assigned") or having(self.state, "left")
            assert next_deadline(self.state) is not None
        assert (next_deadline(self.state) is not None) >= is_measuring(self.state)
        assert not is_measuring(self.state) or self.state.phase == "evaluating"

    def teardown(self) -> None:
        """Every run ends: with clients there and time passing, though no update ever comes."""
        for _ in range(4 + 8 * self.state.run.rounds):
            for client in CLIENTS:
                self.feed(ClientJoined(client, 1))
            for action in pending_actions(self.state):
                answer = dull_answer_to(action)
                if answer is not None:
                    self.feed(answer)
            self.now = max(self.now, next_deadline(self.state) or 0.0)
            self.feed(Ticked())
        assert self.state.phase in ENDS
        assert replayed(self.journal) == self.state


def at_work(state: RunState) -> set[tuple[str, int, str]]:
    """Return who is to do something, each with the round in which it began, and in which exchange."""
    return {
        (name, slot.base, exchange)
        for exchange in (state.exchange, MEASURING)
        for name, slot in slots_of(state, exchange).items()
        if slot.status == "assigned"
    }


def slots_of(state: RunState, exchange: str) -> Mapping[str, Slot]:
    """Return the parts that clients have in an exchange."""
    return state.measuring if exchange == MEASURING else slots(state)


def part(action: Assign | CancelAssignment | Reply) -> tuple[str, int, str]:
    """Return whose part of what an action is about."""
    return (action.client, action.round, action.exchange)


def replayed(journal: Sequence[tuple[str, str, float]]) -> RunState:
    """Return the state that a journal's rows tell of."""
    return replay((decode(kind, body), at_s) for kind, body, at_s in journal)


def answer_to(action: Action, data: Any) -> Event | None:
    """Return what an engine might report when it has carried an action out."""
    match action:
        case PlanRound():
            choice = st.sampled_from(action.clients) if action.clients else st.nothing()
            cohort = data.draw(st.just(list(action.clients)) | st.lists(choice, unique=True))
            quorum, deadline_s = data.draw(st.integers(1, 4)), data.draw(st.floats(1, 50))
            enough = data.draw(st.just(0) | st.integers(quorum, 4))
            most = data.draw(st.sampled_from([2, 2, 1, 0, None, None, None]))
            lists = SEVERAL if most is None else [[TRAINING]]
            listed = {each: dict(ROW) for each in data.draw(st.sampled_from(lists))}
            exchanges = listed | {MEASURING: data.draw(rows)}
            return RoundPlanned(
                action.round,
                tuple(cohort),
                quorum,
                deadline_s,
                enough=enough,
                max_staleness=most,
                exchanges=exchanges,
            )
        case Fold() | Conclude() if action.round and data.draw(st.integers(0, 4)) == 0:
            return RoundUndone(action.round, "the loss exploded")
    return dull_answer_to(action)


def dull_answer_to(action: Action) -> Event | None:
    """Return what an engine reports when all goes well."""
    match action:
        case Combine():
            return ExchangeCombined(action.round, action.exchange, "digest")
        case PlanRound():
            measuring: dict[str, Plain] = {"deadline_s": 9.0}
            exchanges = {MEASURING: measuring}
            return RoundPlanned(action.round, action.clients, 1, 30.0, exchanges=exchanges)
        case Fold():
            return RoundFolded(action.round, "digest", {"update_norm": 1.0})
        case Conclude():
            return RoundEvaluated(action.round)
    return None


Run.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestRun = Run.TestCase


@given(
    arrivals=st.permutations(CLIENTS),
    joins=st.permutations(CLIENTS),
    cohort=st.permutations(CLIENTS),
)
def test_order_of_arrival_does_not_matter(
    arrivals: list[str], joins: list[str], cohort: list[str]
) -> None:
    """Whoever joins, is planned or delivers first: the state and the fold are the same."""
    events: list[Event] = [RunStarted("run", "hash", 1, 5, 1)]
    events += [ClientJoined(each, 1) for each in joins]
    events += [RoundEvaluated(0), RoundPlanned(1, tuple(cohort), 5, 60.0)]
    events += [UpdateReceived(each, 1, each, 9, 1, 6) for each in arrivals]

    state = replay((event, 0.0) for event in events)

    assert state == replay((event, 0.0) for event in sorted_within_kinds(events))
    assert pending_actions(state) == (Fold(1, CLIENTS),)


def sorted_within_kinds(events: list[Event]) -> list[Event]:
    """Return the events with joins and updates in the order of the clients' names."""
    joins = sorted((each for each in events if isinstance(each, ClientJoined)), key=client_of)
    updates = sorted((each for each in events if isinstance(each, UpdateReceived)), key=client_of)
    return [events[0], *joins, *events[6:8], *updates]


def client_of(event: ClientJoined | UpdateReceived) -> str:
    """Return the client that an event is about."""
    return event.client


@given(
    number=st.integers(-(2**70), 2**70),
    client=st.text(),
    digest=st.text(),
    phase_events=st.integers(0, 6),
)
def test_nothing_that_a_client_says_raises(
    number: int, client: str, digest: str, phase_events: int
) -> None:
    """Any name, round and digest is answered, in every phase."""
    script: list[Event] = [RunStarted("run", "hash", 1, 1, 1), ClientJoined("anna", 1)]
    script += [RoundEvaluated(0), RoundPlanned(1, ("anna",), 1, 60.0)]
    script += [UpdateReceived("anna", 1, "x", 9, 1, 6), RoundFolded(1, "d")]
    state = replay((event, 0.0) for event in script[:phase_events])

    _, actions = step(state, UpdateReceived(client, number, digest, 9, 1, 6), 1.0)
    others: list[Event] = [ClientJoined(client, -1), ClientLeft(client, digest)]
    others += [ClientFailed(client, number, digest), UpdateRejected(client, number, digest)]
    for event in others:
        step(state, event, 1.0)

    assert [type(action) for action in actions[:1]] == [Reply]


@given(
    members=st.integers(1, 5),
    quorum=st.integers(1, 6),
    delivered=st.lists(st.sampled_from(CLIENTS), unique=True),
)
def test_deadline_ends_every_round(members: int, quorum: int, delivered: list[str]) -> None:
    """Whatever came in, at the deadline a round is folded if and only if its quorum is there."""
    script: list[Event] = [RunStarted("run", "hash", 9, 1, 9)]
    script += [ClientJoined(each, 1) for each in CLIENTS]
    script += [RoundEvaluated(0), RoundPlanned(1, CLIENTS[:members], quorum, 60.0)]
    script += [UpdateReceived(each, 1, "x", 9, 1, 6) for each in delivered]

    state, _ = step(replay((event, 0.0) for event in script), Ticked(), 60.0)

    enough = len(set(delivered) & set(CLIENTS[:members])) >= quorum
    assert state.phase == ("folding" if enough else "planning")
    assert (state.round, len(present(state))) == (1 if enough else 2, 5)


def test_finish_comes_once_per_end() -> None:
    """A run that has ended asks for its report once, and again only after a resume."""
    script: list[Event] = [RunStarted("run", "hash", 1, 1, 1), ClientJoined("anna", 1)]
    script += [RoundEvaluated(0), RoundPlanned(1, ("anna",), 1, 60.0), Ticked()]
    state, actions = RunState(), list[Action]()

    for now, event in enumerate([*script, Ticked(), ClientLeft("anna"), RunStopped("x")]):
        state, asked = step(state, event, now * 100.0)
        actions += asked

    assert [type(action) for action in actions].count(Finish) == 1
