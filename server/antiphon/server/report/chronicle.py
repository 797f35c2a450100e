"""A run as its journal tells it, for reports and for the dashboard.

No rule of the machine stands here: each entry goes through the machine's own `step`, and what that has
changed is noted, beside what was measured meanwhile. A journal in which an engine erred is told all the
same: an event that the machine refuses is passed over, and that it was is among the problems.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from antiphon.core import events
from antiphon.core.errors import ProtocolError
from antiphon.core.journal import Entry
from antiphon.core.refusals import said_of
from antiphon.server.machine.actions import Action, CancelAssignment, Reply
from antiphon.server.machine.lineage import Lineage
from antiphon.server.machine.round import OBSERVATIONS, step
from antiphon.server.machine.run_state import (
    OPEN,
    Outcome,
    RunState,
    Slot,
    having,
    slot_of,
    updated,
)
from antiphon.server.machine.standing import Declines
from antiphon.server.report.observed import Observed
from antiphon.server.report.report_types import Problem, RoundOutcome

_OVER = ("complete", "stopped")
_NOT_COUNTED = ("late", "rejected", "unknown")


class RoundRecord:
    """One round while its events are read.

    members: its cohort when it was planned; state: the run's, as long as the round is open;
    first_seq: its plan's entry in the journal; planned_at, closed_at, over_at: absolute seconds (None: not
    yet); began, seconds: seconds of the run before the round, and of the round itself; late:
    clients, in order of arrival; fold: what the fold measured; held_back: whose updates counted less.
    """

    def __init__(self, planned: events.RoundPlanned, opened: RunState, entry: Entry, began: float):
        """Open the round; opened: the state after its plan."""
        self.planned, self.began = planned, began
        self.members: Mapping[str, Slot] = opened.cohort
        self.state = opened
        self.first_seq = entry.seq
        self.planned_at = entry.at_s
        self.closed_at: float | None = None
        self.over_at: float | None = None
        self.seconds: float | None = None
        self.ended: Outcome | None = None
        self.late: list[str] = []
        self.fold: Mapping[str, float] = {}
        self.held_back: tuple[str, ...] = ()

    @property
    def outcome(self) -> RoundOutcome:
        """How the round has ended."""
        return "open" if self.ended is None else self.ended.ending

    @property
    def accepted(self) -> tuple[str, ...]:
        """The members whose update has been accepted, sorted."""
        return updated(self.state) if self.ended is None else self.ended.accepted

    @property
    def rejected(self) -> tuple[str, ...]:
        """The members whose update was refused, sorted."""
        return having(self.state, "rejected") if self.ended is None else self.ended.rejected


class Chronicle:
    """One journal, growing.

    machine: the state after what has been read, up to the entry `seq`; newest: the newest round that was
    planned (0: none); lineage: whose folds the model is of.
    """

    def __init__(self) -> None:
        """Begin before the first event."""
        self.machine = RunState()
        self.observed = Observed()
        self.seq = 0
        self.newest = 0
        self.rounds: dict[int, RoundRecord] = {}
        self.declines = Declines()
        self.lineage = Lineage()
        self.problems: list[Problem] = []

    @property
    def run(self) -> events.RunStarted | None:
        """What the run agreed to; None: nothing has happened."""
        return None if self.machine.phase == "new" else self.machine.run

    @property
    def end(self) -> tuple[bool, str] | None:
        """Whether the run is complete, and why it has ended; None: it has not."""
        over = self.machine.phase in _OVER
        return (self.machine.phase == "complete", self.machine.reason) if over else None

    def stands(self, number: int) -> bool:
        """Whether the model of a round was not taken back."""
        return number not in self.lineage.undone

    def tensors_sent(self) -> int:
        """Return how many models and accepted updates the rounds that are over have taken.

        A member of several asynchronous rounds was sent one model, and its update is one. 0 where no update
        was accepted: what nobody delivered has saved nothing.
        """
        over = [each for each in self.rounds.values() if each.ended is not None]
        updates = {(name, each.members[name].base) for each in over for name in each.accepted}
        return len(updates) + sum(len(each.planned.cohort) for each in over) if updates else 0

    def read(self, entry: Entry) -> None:
        """Take one entry in."""
        event, before, self.seq = entry.event, self.machine, entry.seq
        if type(event) in OBSERVATIONS:  # most of a journal
            self._observe(event, entry.at_s)
            return
        self.observed.hear(event, entry.at_s)
        try:
            self.machine, actions = step(before, event, entry.at_s)
        except ProtocolError as error:
            self._tell(self.newest, None, "out of place", str(error))
            return
        self._note_round(entry, before)
        self._hear(event, before)
        for action in actions:
            self._answered(action)
        if self.machine.outcomes is not before.outcomes:
            self._note_outcomes(entry, len(before.outcomes))

    def last_seq(self, number: int) -> int:
        """Return the last entry of a round so far."""
        after = self.rounds.get(number + 1)
        return self.seq if after is None else after.first_seq - 1

    def _observe(self, event: events.Event, now: float) -> None:
        machine = self.machine
        if isinstance(event, events.BytesMoved):
            trains = machine.phase == "collecting" or event.client in machine.carried
            self.observed.moves(event, now, trains=trains)
            return
        self.observed.hear(event, now)
        match event:
            case events.ClientDeclined():
                self.declines.hear(event)
                reason = said_of(event.codes, event.reason)
                self._tell(self.newest, event.client, "declined", reason)

    def _note_round(self, entry: Entry, before: RunState) -> None:
        """Note what has become of the newest round."""
        after, event = self.machine, entry.event
        if isinstance(event, events.RoundPlanned):
            self.newest = event.round
            self.rounds[event.round] = RoundRecord(event, after, entry, self.observed.seconds)
        last = self.rounds.get(self.newest)
        if last is None:
            return
        if after.phase in OPEN and after.round == self.newest:
            last.state = after
        if last.closed_at is None and after.phase not in ("collecting", "combining"):
            # A deadline is heard of with the next event, however late that is.
            deadline = before.deadline if before.phase == "collecting" else entry.at_s
            last.closed_at = min(entry.at_s, deadline)

    def _note_outcomes(self, entry: Entry, known: int) -> None:
        for position, ended in enumerate(self.machine.outcomes):
            record = self.rounds[ended.round]
            record.ended = ended
            if position < known:  # a run that goes back changes what has become of them
                continue
            record.over_at, record.seconds = entry.at_s, self.observed.seconds - record.began
            if ended.ending not in ("folded", "rewound"):
                self._tell(ended.round, None, ended.ending, ended.reason)

    def _answered(self, action: Action) -> None:
        match action:
            case Reply() if action.verdict in _NOT_COUNTED:
                what = "late" if action.verdict == "late" else "rejected"
                training = action.exchange == events.TRAINING
                if what == "late" and training and action.round in self.rounds:
                    self.rounds[action.round].late.append(action.client)
                self._tell(action.round, action.client, what, action.reason)
            case CancelAssignment() if action.reason:
                measures = action.exchange == events.MEASURING
                what = "unmeasured" if measures else "unfinished"
                self._tell(self.newest, action.client, what, action.reason)

    def _hear(self, event: events.Event, before: RunState) -> None:
        """Note what somebody said, and the machine does not keep."""
        match event:
            case events.UpdateReceived():
                loss = event.metrics.get("loss")
                self._check_loss(event.round, event.client, "training", loss)
            case events.Evaluated():
                self._check_loss(event.round, event.client, "held-out", event.loss)
            case events.ClientJoined():
                self.declines.hear(event)
            case events.ClientLeft():
                member = before.clients.get(event.client)
                # When the run is over, everybody may go.
                if member is not None and member.present and before.phase not in _OVER:
                    self._tell(self.newest, event.client, "left", event.reason)
            case events.ClientRevoked() if event.client in before.clients:
                slot = slot_of(before, event.client)
                void = slot is not None and slot.status != "rejected"
                which = "its update of the round does not count"
                why = which if void else "it had no part of the round"
                self._tell(self.newest, event.client, "revoked", why)
            case events.ClientFailed():
                what = "unmeasured" if event.exchange == events.MEASURING else "failed"
                self._tell(event.round, event.client, what, event.reason)
            case events.RoundFolded():
                record = self.rounds[event.round]
                record.fold, record.held_back = event.report, event.held_back
                self.lineage = self.lineage.folded(event.round)
            case events.RoundUndone():
                self.lineage = self.lineage.undid(event.round)
            case events.RunRewound():
                self.lineage = self.lineage.went_back(event.round)
                self._tell(event.round, None, "rewound", event.reason)

    def _check_loss(self, number: int, client: str, which: str, loss: float | None) -> None:
        if loss is not None and not math.isfinite(loss):
            self._tell(number, client, "diverged", f"its {which} loss is {loss}")

    def _tell(self, number: int, client: str | None, what: str, reason: str) -> None:
        self.problems.append(Problem(round=number, client=client, what=what, reason=reason))
