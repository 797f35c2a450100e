"""A journal read once, for the report: the round machine's rules (server/round.py), by counting.

`replay` would tell the same of a journal in which nothing is missing, but each of its steps copies
the cohort: for 400 clients and 100 rounds it takes twenty times as long. And it refuses a journal in
which the engine erred, of which there should be a report all the same. A property test holds the two
against each other.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, cast

from antiphon.core import events
from antiphon.core.journal import Entry
from antiphon.core.refusals import said_of
from antiphon.core.types import Plain
from antiphon.server.bench import Bench, after_failure, is_benched, pause_s
from antiphon.server.lineage import Lineage
from antiphon.server.report_types import Outcome, Problem
from antiphon.server.round import is_settled
from antiphon.server.run_state import MAY_DELIVER, ON_THE_WAY, Slot, Status
from antiphon.server.training_bytes import TrainingBytes

_TIMELY = (
    events.ClientJoined,
    events.ClientLeft,
    events.ClientRevoked,
    events.UpdateReceived,
    events.UpdateRejected,
    events.ClientFailed,
    events.Ticked,
)


class RoundTally:
    """One round while its events are read.

    planned: the plan; began, seconds: seconds of the run before the round, and of the round itself
    (None while it is open); opened, deadline: absolute seconds; status: of each cohort member, as in
    server/run_state.py; base: the round in which each began; late: clients, in order of arrival; fold:
    what the fold measured; held_back: whose updates counted less than they asked for.
    """

    def __init__(
        self,
        event: events.RoundPlanned,
        now: float,
        began: float,
        present: set[str],
        carried: Mapping[str, Slot],
    ) -> None:
        """Open the round; present: the clients that can be given work; carried: of earlier rounds."""
        self.planned, self.began, self.opened = event, began, now
        self.deadline = now + event.deadline_s
        self.seconds: float | None = None
        self.phase: Literal["collecting", "folding", "evaluating", "over"] = "collecting"
        self.outcome: Outcome = "open"
        self.status: dict[str, Status] = {
            each: "assigned" if each in present else "left" for each in event.cohort
        }
        self.base = dict.fromkeys(event.cohort, event.round)
        for each, slot in carried.items():
            self.status[each], self.base[each] = slot.status, slot.base
        self.counts = Counter(self.status.values())
        self.late: list[str] = []
        self.fold: Mapping[str, float] = {}
        self.held_back: tuple[str, ...] = ()

    def move(self, client: str, before: tuple[Status, ...], after: Status) -> bool:
        """Change a member's status if the round is collecting and it is in one of `before`."""
        status = self.status.get(client)
        if self.phase != "collecting" or status not in before:
            return False
        self.counts[status] -= 1
        self.counts[after] += 1
        self.status[client] = after
        return True

    def having(self, status: Status) -> list[str]:
        """Return the members in a status, sorted."""
        return sorted(client for client, each in self.status.items() if each == status)

    def settled(self) -> bool:
        """Say whether nothing is left to wait for, or the quorum is out of reach."""
        return is_settled(self.counts, self.planned.quorum, self.planned.enough)


class Tally:
    """What the report needs, gathered event by event.

    end: (complete, reason) once the run is over; evaluated: by round and client; means: what each
    evaluation that was finished said itself; moved: bytes by (round, direction); by_client: bytes by
    client and direction; training: those of training; phases: seconds by round and phase; seconds: the
    time in which an engine was running, on its clock; lineage: whose folds the model is of; benches,
    not_before: as in server/run_state.py; revoked, declined: clients, and why they take no part.
    """

    def __init__(self) -> None:
        """Begin before the first event."""
        self.started: events.RunStarted | None = None
        self.end: tuple[bool, str] | None = None
        self.facts: dict[str, Plain] = {}
        self.peak: int | None = None
        self.present: set[str] = set()
        self.train_examples: dict[str, int] = {}
        self.receipts: dict[str, tuple[int, str]] = {}
        self.rounds: dict[int, RoundTally] = {}
        self.last: RoundTally | None = None
        self.carried: dict[str, Slot] = {}
        self.failed_in_a_row = 0
        self.benches: dict[str, Bench] = {}
        self.revoked: set[str] = set()
        self.declined: dict[str, str] = {}
        self.not_before = 0.0
        self.evaluated: defaultdict[int, dict[str, events.Evaluated]] = defaultdict(dict)
        self.means: dict[int, Mapping[str, float]] = {}
        self.moved: Counter[tuple[int, str]] = Counter()
        self.by_client: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.phases: defaultdict[int, dict[str, float]] = defaultdict(dict)
        self.training = TrainingBytes()
        self.problems: list[Problem] = []
        self.clock: float | None = None
        self.seconds = 0.0
        self.lineage = Lineage()

    def read(self, entry: Entry) -> None:
        """Take one entry in, as the round machine would."""
        event, now = entry.event, entry.at_s
        if self.clock is not None and not isinstance(event, events.RunResumed):
            self.seconds += max(0.0, now - self.clock)
        self.clock = now
        _measure(self, event)
        if not isinstance(event, _TIMELY):
            _direct(self, event, now)
            return
        if self.last and self.last.phase == "collecting" and now >= self.last.deadline:
            self.close("the deadline has passed")
        _hear(self, event)
        if not isinstance(event, events.Ticked):
            self.close_if_settled()

    def tensors_sent(self) -> int:
        """Return how many models and accepted updates the rounds that are over have taken.

        A member of several asynchronous rounds was sent one model, and its update is one. 0 where no update
        was accepted: what nobody delivered has saved nothing.
        """
        over = [each for each in self.rounds.values() if each.outcome != "open"]
        updates = {(name, each.base[name]) for each in over for name in each.having("accepted")}
        return len(updates) + sum(len(each.planned.cohort) for each in over) if updates else 0

    def following(self) -> int:
        """Return the number of the next round that can be planned."""
        return self.last.planned.round + 1 if self.last else 1

    def bench(self, client: str, reason: str) -> None:
        """Let a client that was waited for sit out some rounds."""
        before = self.benches.get(client)
        self.benches[client] = after_failure(before, self.following(), reason)

    def status_of(self, client: str) -> Status | None:
        """Return how a client's part of the open round stands, else that of the next one."""
        if self.last and self.last.phase == "collecting":
            return self.last.status.get(client)
        return self.carried[client].status if client in self.carried else None

    def stands(self, number: int) -> bool:
        """Say whether the model of a round was not taken back."""
        return number not in self.lineage.undone

    def moved_for(self, number: int, client: str, purpose: str, size: int) -> None:
        """Count bytes that may be training's."""
        if purpose == "update":
            self.training.update(number, size)
        elif purpose == "model":
            collecting = self.last is not None and self.last.phase == "collecting"
            self.training.model(number, client, size, trains=collecting or client in self.carried)

    def tell(self, number: int, client: str | None, what: str, reason: str) -> None:
        """Note that something went wrong."""
        self.problems.append(Problem(round=number, client=client, what=what, reason=reason))

    def close_if_settled(self) -> None:
        """Close the newest round if it has nothing to wait for."""
        if self.last and self.last.phase == "collecting" and self.last.settled():
            self.close("the quorum is out of reach")

    def close(self, cause: str) -> None:
        """Take no more updates for the newest round; below its quorum it has failed."""
        last = cast(RoundTally, self.last)
        accepted, quorum = last.counts["accepted"], last.planned.quorum
        statuses = ON_THE_WAY if accepted >= quorum else (*ON_THE_WAY, "accepted")
        unfolded = {
            client: Slot(status, last.base[client])
            for client, status in last.status.items()
            if status in statuses
        }
        self.carried = self.still_valid(unfolded, last.planned, last.planned.round + 1)
        self.tell_unfinished(last, cause)
        if accepted >= quorum:
            last.phase, self.failed_in_a_row = "folding", 0
            return
        self.finish("failed", f"{cause}: {accepted} of {len(last.status)} updates, quorum {quorum}")

    def tell_unfinished(self, last: RoundTally, cause: str) -> None:
        """Note who was called off; to be one more than a round needed is nothing that went wrong."""
        if 0 < last.planned.enough <= last.counts["accepted"]:
            if last.planned.max_staleness is None:
                return
            cause = "its update would have been too stale for the next one"
        for client in last.having("assigned"):
            if client not in self.carried:
                why = f"the round closed before its update: {cause}"
                self.tell(last.planned.round, client, "unfinished", why)

    def still_valid(
        self, slots: Mapping[str, Slot], plan: events.RoundPlanned, number: int
    ) -> dict[str, Slot]:
        """Return the slots from which an update may be folded in round `number`."""
        most = plan.max_staleness
        if most is None or self.started is None or number > self.started.rounds:
            return {}
        return {client: slot for client, slot in slots.items() if number - slot.base <= most}

    def move(self, client: str, before: tuple[Status, ...], after: Status) -> bool:
        """Change a member's status in the open round, else in the next one."""
        if self.last and self.last.phase == "collecting":
            return self.last.move(client, before, after)
        slot = self.carried.get(client)
        if slot is None or slot.status not in before:
            return False
        del self.carried[client]
        if after not in ("failed", "rejected"):
            self.carried[client] = Slot(after, slot.base)
        return True

    def base_of(self, client: str) -> int | None:
        """Return the round in which what is awaited from a client began; None: nothing is."""
        if self.last and self.last.phase == "collecting":
            return self.last.base.get(client)
        return self.carried[client].base if client in self.carried else None

    def finish(self, outcome: Outcome, reason: str = "") -> None:
        """End the newest round, and the run with it where nothing may follow."""
        last, started = cast(RoundTally, self.last), self.started
        last.phase, last.outcome, last.seconds = "over", outcome, self.seconds - last.began
        if outcome != "folded":
            self.tell(last.planned.round, None, outcome, reason)
        if outcome in ("undone", "stopped"):
            self.carried = {}
        self.failed_in_a_row = self.failed_in_a_row + 1 if outcome == "failed" else 0
        self.not_before = 0.0
        if self.failed_in_a_row:
            self.not_before = last.opened + pause_s(self.failed_in_a_row)
        if started and self.failed_in_a_row >= started.max_failed_rounds:
            self.carried = {}
            told = f"{self.failed_in_a_row} rounds in a row have failed"
            self.end = (False, f"{told}; round {last.planned.round}: {reason}")
        elif started and len(self.rounds) >= started.rounds:
            self.end_by_rounds()

    def end_by_rounds(self) -> None:
        """End the run: its last round is over."""
        endings = Counter(each.outcome for each in self.rounds.values())
        told = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
        self.end = (endings["folded"] > 0, f"all rounds are over: {told}")


def _measure(run: Tally, event: events.Event) -> None:
    match event:
        case events.BytesMoved():
            run.moved[event.round, event.direction] += event.bytes
            run.by_client[event.client][event.direction] += event.bytes
            run.moved_for(event.round, event.client, event.purpose, event.bytes)
        case events.Evaluated():
            run.evaluated[event.round][event.client] = event
            _check_loss(run, event.round, event.client, "held-out", event.loss)
        case events.UpdateReceived():
            _check_loss(run, event.round, event.client, "training", event.metrics.get("loss"))
        case events.ClientDeclined():
            reason = said_of(event.codes, event.reason)
            run.declined[event.client] = reason
            run.tell(run.last.planned.round if run.last else 0, event.client, "declined", reason)
        case events.PhaseTimed():
            phases = run.phases[event.round]
            phases[event.phase] = phases.get(event.phase, 0.0) + event.seconds
        case events.RunDescribed():
            run.facts.update(event.facts)
            peaks = (run.peak, integer_fact(event.facts, "peak_memory_bytes"))
            run.peak = max((each for each in peaks if each is not None), default=None)


def _check_loss(run: Tally, number: int, client: str, which: str, loss: float | None) -> None:
    if loss is not None and not math.isfinite(loss):
        run.tell(number, client, "diverged", f"its {which} loss is {loss}")


def _hear(run: Tally, event: events.Event) -> None:
    """Take in what a client caused."""
    last = run.last
    number = last.planned.round if last else 0
    match event:
        case events.ClientJoined():
            run.train_examples[event.client] = event.examples
            run.declined.pop(event.client, None)
            run.revoked.discard(event.client)
            if event.client not in run.present:
                if not is_benched(run.benches, event.client, run.following()):
                    run.not_before = 0.0
                run.move(event.client, ("left", "failed"), "assigned")
            run.present.add(event.client)
        case events.ClientLeft():
            was_here = event.client in run.present
            run.present.discard(event.client)
            # Whoever was not at work has left the run too; when it is over, everybody may go.
            waited_for = run.move(event.client, ("assigned",), "left")
            if waited_for or (was_here and run.end is None):
                run.tell(number, event.client, "left", event.reason)
        case events.ClientRevoked() if event.client in run.train_examples:
            run.present.discard(event.client)
            run.revoked.add(event.client)
            void = run.move(event.client, (*MAY_DELIVER, "accepted"), "rejected")
            why = (
                "its update of the round does not count" if void else "it had no part of the round"
            )
            run.tell(number, event.client, "revoked", why)
        case events.UpdateReceived() if last:
            _receive(run, last, event)
        case events.UpdateRejected():
            if event.round == run.base_of(event.client):
                if run.status_of(event.client) in ON_THE_WAY:
                    run.bench(event.client, event.reason)
                run.move(event.client, MAY_DELIVER, "rejected")
            run.tell(event.round, event.client, "rejected", event.reason)
        case events.ClientFailed():
            if event.round == run.base_of(event.client):
                if run.status_of(event.client) in ON_THE_WAY:
                    run.bench(event.client, event.reason)
                run.move(event.client, ON_THE_WAY, "failed")
            run.tell(event.round, event.client, "failed", event.reason)


def _receive(run: Tally, last: RoundTally, event: events.UpdateReceived) -> None:
    number, receipt = last.planned.round, (event.round, event.digest)
    if run.receipts.get(event.client) == receipt:
        return
    if event.client not in run.train_examples or event.round > number:
        run.tell(event.round, event.client, "rejected", "it was not asked for")
    elif event.round == run.base_of(event.client) and run.move(
        event.client, MAY_DELIVER, "accepted"
    ):
        run.receipts[event.client] = receipt
        run.benches.pop(event.client, None)
    elif event.round < number or last.phase != "collecting":
        if event.round in run.rounds:
            run.rounds[event.round].late.append(event.client)
        run.tell(event.round, event.client, "late", "the round was closed")
    else:
        status = last.status.get(event.client, "not in the cohort")
        run.tell(event.round, event.client, "rejected", f"the client is {status} already")


def _direct(run: Tally, event: events.Event, now: float) -> None:
    """Take in what the engine did."""
    last = run.last
    match event:
        case events.RunStarted():
            run.started = event
        case events.RoundPlanned():
            carried = run.still_valid(run.carried, event, event.round)
            run.last = RoundTally(event, now, run.seconds, run.present, carried)
            run.carried = {}
            run.training.planned(event.round, event.cohort)
            run.rounds[event.round] = run.last
            run.close_if_settled()
        case events.RoundFolded() if last:
            last.phase, last.fold = "evaluating", event.report
            last.held_back = event.held_back
            run.lineage = run.lineage.folded(event.round)
        case events.RoundUndone() if last:
            run.finish("undone", event.reason)
            run.means.setdefault(event.round, {})
            run.lineage = run.lineage.undid(event.round)
        case events.RoundEvaluated():
            run.means[event.round] = event.metrics
            if last and event.round > 0:
                run.finish("folded")
        case events.RunResumed():
            _resume(run, event, now)
        case events.RunRewound():
            _rewind(run, event)
        case events.RunStopped() if run.end is None:
            if last and last.phase != "over":
                run.finish("folded" if last.phase == "evaluating" else "stopped", event.reason)
            folded = any(each.outcome == "folded" for each in run.rounds.values())
            run.end, run.carried = (event.by_policy and folded, event.reason), {}
        case events.RunEnded():
            run.end = (event.complete, event.reason)


def _rewind(run: Tally, event: events.RunRewound) -> None:
    if run.last and run.last.phase != "over":
        run.last.phase, run.last.seconds = "over", run.seconds - run.last.began
    for number, each in run.rounds.items():
        if number > event.round and each.outcome in ("open", "folded", "undone"):
            each.outcome = "rewound"
    run.lineage = run.lineage.went_back(event.round)
    run.carried, run.end, run.failed_in_a_row, run.not_before = {}, None, 0, 0.0
    run.tell(event.round, None, "rewound", event.reason)
    if run.started and len(run.rounds) >= run.started.rounds:
        run.end_by_rounds()


def _resume(run: Tally, event: events.RunResumed, now: float) -> None:
    if run.started and event.rounds is not None:
        run.started = replace(run.started, rounds=event.rounds, config_hash=event.config_hash)
        between = run.last is not None and run.last.phase == "over"
        if run.end is None and between and len(run.rounds) >= event.rounds:
            run.end_by_rounds()
            return
    stopped = run.end is not None and not run.end[0]
    if stopped and run.started and len(run.rounds) < run.started.rounds:
        run.end, run.failed_in_a_row, run.not_before = None, 0, 0.0
    if not event.clock_stood:
        run.not_before = 0.0
    if run.last and run.last.phase == "collecting" and not event.clock_stood:
        run.last.deadline = now + run.last.planned.deadline_s


def integer_fact(facts: Mapping[str, Plain], name: str) -> int | None:
    """Return a fact of the run as a whole number; None where it is missing or no finite number."""
    value = facts.get(name)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None
