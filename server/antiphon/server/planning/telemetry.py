"""What the run has measured of its clients and of itself, gathered from the journal event by event.

Nothing else goes in, so a resumed run sees what an undisturbed one would. Each event costs constant time;
`telemetry` takes a snapshot before a round is planned.

The time between an assignment and its update is split where it can be: the download ends with the last
bytes of the model, the training takes the seconds that the update reports (in a simulation, those of the
virtual clock), and the rest is the upload.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace

from antiphon.core import events
from antiphon.core.types import Plain
from antiphon.server.folding.held_out import median_loss
from antiphon.strategies.scheduling.telemetry import ClientTelemetry, RunTelemetry, Telemetry

_NEWEST = 0.5  # weight of a new measurement in a mean that forgets
_BYTES_PER_S = 125.0  # of one kilobit per second
_INSTANT_S = 1e-6
_MOST_LOSS = 1e6  # a client that claims more is not worth more
_MOST_BYTES = "most_bytes"
_EVALUATION_BYTES = "evaluation_bytes"


@dataclass
class _Errand:
    """An assignment that has brought no update yet.

    began: when it was given; blamed: its failing has been counted, or is no failing; downloaded: when the
    last bytes of the model were.
    """

    round: int
    began: float
    blamed: bool = False
    downloaded: float | None = None
    bytes_down: int = 0
    bytes_up: int = 0


@dataclass
class _Member:
    """One client. reserved: by round, what it may still move of that round's assignment."""

    known: ClientTelemetry
    told_step_s: float | None = None
    errand: _Errand | None = None
    reserved: dict[int, int] = field(default_factory=dict)


class Accumulator:
    """Hears the journal; see the module."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._members: dict[str, _Member] = {}
        self._rounds = 1
        self._round = 0
        self._at: float | None = None
        self._seconds = 0.0
        self._collected: float | None = None
        self._closed_at: float | None = None
        self._lapsing: set[str] = set()
        self._overhead_s = 0.0
        self._moved = {"up": 0, "down": 0}
        self._evaluation_bytes: dict[int, int] = {}
        self._parameters: int | None = None
        self._simulated = False
        self._losses: list[tuple[int, float]] = []
        self._measured: dict[str, events.Evaluated] = {}
        self._utilities: defaultdict[int, float] = defaultdict(float)
        self._tokens_per_step: float | None = None

    def hear(self, event: events.Event, at_s: float) -> None:
        """Take one entry of the journal in. at_s: seconds on the engine's clock."""
        if self._at is not None and not isinstance(event, events.RunResumed):
            self._seconds += max(0.0, at_s - self._at)
        self._at = at_s
        match event:
            case events.RunStarted():
                self._rounds = event.rounds
            case events.RunResumed() if event.rounds is not None:
                self._rounds = event.rounds
            case events.RunDescribed():
                self._describe_run(event)
            case events.ClientDescribed():
                self._describe(event)
            case events.ClientJoined():
                self._join(event, at_s)
            case events.BytesMoved():
                self._move(event, at_s)
            case events.RoundPlanned():
                self._open(event, at_s)
            case events.UpdateReceived():
                self._receive(event, at_s)
            case events.ClientFailed(exchange=events.MEASURING):
                pass  # its part of the round is another thing
            case events.UpdateRejected() | events.ClientFailed():
                self._fail(event)
            case events.ExchangeCombined():
                self._begin_anew(event, at_s)
            case events.ClientRevoked() if event.client in self._members:
                self._members[event.client].errand = None
                self._members[event.client].reserved.clear()
            case events.RunRewound():
                self._rewind(event)
            case events.RoundFolded() | events.RoundUndone():
                self._measured.clear()
                self._collected, self._closed_at = self._seconds, at_s
            case events.Evaluated():
                self._measured[event.client] = event
            case events.RoundEvaluated():
                self._evaluate(event)

    def telemetry(self, number: int, now: float) -> Telemetry:
        """Return what is known before round `number` is planned, at `now` on the engine's clock."""
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        run = RunTelemetry(
            round=number,
            rounds=self._rounds,
            seconds=self._seconds + passed,
            overhead_s=self._overhead_s,
            bytes_up=self._moved["up"],
            bytes_down=self._moved["down"],
            reserved_bytes=self._reserved(),
            parameters=self._parameters,
            losses=tuple(self._losses),
            utilities=tuple(self._utilities[each] for each in range(1, number)),
            simulated=self._simulated,
        )
        clients = {name: self._snapshot(each) for name, each in self._members.items()}
        return Telemetry(run, clients)

    def _snapshot(self, member: _Member) -> ClientTelemetry:
        known = member.known
        if known.step_s is None:
            return replace(known, step_s=self._expected_step_s(member))
        return known

    def _expected_step_s(self, member: _Member) -> float | None:
        """Return a step's seconds by what the client's machine said when it joined."""
        if member.told_step_s is not None:
            return member.told_step_s
        rate, tokens = member.known.tokens_per_s, self._tokens_per_step
        expected = tokens / rate if rate and tokens else math.inf
        return expected if math.isfinite(expected) else None  # a rate near zero says nothing

    def _reserved(self) -> int:
        members = sum(sum(each.reserved.values()) for each in self._members.values())
        return members + sum(self._evaluation_bytes.values())

    def _member(self, client: str) -> _Member:
        if client not in self._members:
            self._members[client] = _Member(ClientTelemetry(client))
        return self._members[client]

    def _describe_run(self, event: events.RunDescribed) -> None:
        self._parameters = _whole(event.facts.get("trained_parameters")) or self._parameters
        if "engine" in event.facts:
            self._simulated = event.facts["engine"] == "simulation"

    def _describe(self, event: events.ClientDescribed) -> None:
        member, facts = self._member(event.client), event.facts
        member.told_step_s = _positive(facts.get("step_s"))
        device, base = facts.get("device"), facts.get("base")
        up, down = (_positive(facts.get(key)) for key in ("uplink_kbps", "downlink_kbps"))
        known = member.known
        member.known = replace(
            known,
            memory_bytes=_whole(facts.get("memory_bytes")),
            device=device if isinstance(device, str) and device else None,
            base=base if isinstance(base, str) and base else None,
            tokens_per_s=_positive(facts.get("tokens_per_s")),
            uplink_bytes_per_s=known.uplink_bytes_per_s or (up and up * _BYTES_PER_S),
            downlink_bytes_per_s=known.downlink_bytes_per_s or (down and down * _BYTES_PER_S),
        )

    def _join(self, event: events.ClientJoined, at_s: float) -> None:
        member = self._member(event.client)
        member.known = replace(member.known, examples=event.examples)
        if member.errand is not None:  # it was away, and gets its assignment again
            member.errand.began, member.errand.downloaded = at_s, None
            member.errand.bytes_down = member.errand.bytes_up = 0

    def _move(self, event: events.BytesMoved, at_s: float) -> None:
        self._moved[event.direction] += event.bytes
        errand = self._member(event.client).errand
        if errand is None:
            return
        if event.direction == "up":
            errand.bytes_up += event.bytes
        else:
            errand.bytes_down += event.bytes
            errand.downloaded = at_s

    def _open(self, event: events.RoundPlanned, at_s: float) -> None:
        if self._collected is not None:
            self._overhead_s = max(self._overhead_s, self._seconds - self._collected)
        for client in self._lapsing:
            self._give_up(self._member(client), self._closed_at or at_s)
        self._collected = self._closed_at = None
        self._round = event.round
        self._lapsing = set(event.cohort) if event.max_staleness is None else set()
        for client in event.cohort:
            self._assign(self._member(client), event, at_s)
        evaluation = _whole(event.telemetry.get("run", {}).get(_EVALUATION_BYTES))
        if evaluation:
            self._evaluation_bytes[event.round] = evaluation

    def _assign(self, member: _Member, event: events.RoundPlanned, at_s: float) -> None:
        self._give_up(member, at_s)
        client = member.known.client
        asked = member.known.asked + 1
        member.known = replace(member.known, last_round=event.round, asked=asked)
        # Who was asked only in case others fail has not failed when they do not.
        member.errand = _Errand(event.round, at_s, blamed=event.enough > 0)
        most = _whole(event.telemetry.get(client, {}).get(_MOST_BYTES))
        if most:
            member.reserved[event.round] = most

    def _give_up(self, member: _Member, at_s: float) -> None:
        """Note that an assignment has brought nothing; what was waited for it is a bound of its time."""
        errand, known = member.errand, member.known
        if errand is None:
            return
        waited = max(known.turnaround_s or 0.0, at_s - errand.began)
        failures = known.failures + (not errand.blamed)
        member.known = replace(known, failures=failures, turnaround_s=waited)
        member.errand = None

    def _begin_anew(self, event: events.ExchangeCombined, at_s: float) -> None:
        """Count a member's time from the exchange that follows: its waiting before says nothing of it."""
        for member in self._members.values():
            if member.errand is not None and member.errand.round == event.round:
                member.errand.began = at_s

    def _fail(self, event: events.UpdateRejected | events.ClientFailed) -> None:
        member = self._members.get(event.client)
        if member is None or member.errand is None or member.errand.round != event.round:
            return
        member.known = replace(member.known, failures=member.known.failures + 1)
        member.errand.blamed = True
        if isinstance(event, events.UpdateRejected):
            member.errand = None
            _release(member, event.round)

    def _receive(self, event: events.UpdateReceived, at_s: float) -> None:
        member = self._member(event.client)
        _release(member, event.round)
        errand = member.errand
        if errand is None or errand.round != event.round:
            return
        member.errand = None
        self._measure(member, errand, event, at_s)
        loss = event.metrics.get("loss")
        rms = event.metrics.get("rms_loss", loss)
        known = replace(member.known, staleness=max(0, self._round - event.round))
        if loss is not None and rms is not None and math.isfinite(loss) and math.isfinite(rms):
            known = replace(known, loss=loss, rms_loss=min(abs(rms), _MOST_LOSS))
            self._utilities[self._round] += known.utility or 0.0
        member.known = known

    def _measure(
        self, member: _Member, errand: _Errand, event: events.UpdateReceived, at_s: float
    ) -> None:
        """Split the time since the assignment into download, training and upload, where that can be."""
        steps, tokens = event.steps, _positive(event.metrics.get("tokens"))
        if steps > 0 and tokens:
            self._tokens_per_step = _mean(self._tokens_per_step, tokens / steps)
        training_s = self._training_s(member, event)
        whole_s = max(0.0, at_s - errand.began)
        known = replace(member.known, turnaround_s=whole_s)
        downloaded = errand.began if errand.downloaded is None else errand.downloaded
        if training_s is None:
            if steps > 0 and whole_s > _INSTANT_S:
                known = replace(known, step_s=_mean(known.step_s, whole_s / steps))
            member.known = known
            return
        if steps > 0 and training_s > _INSTANT_S:
            known = replace(known, step_s=_mean(known.step_s, training_s / steps))
        up_s, down_s = at_s - downloaded - training_s, downloaded - errand.began
        if up_s >= 0:
            known = replace(
                known,
                uplink_bytes_per_s=_rate(known.uplink_bytes_per_s, errand.bytes_up, up_s),
                downlink_bytes_per_s=_rate(known.downlink_bytes_per_s, errand.bytes_down, down_s),
            )
        member.known = known

    def _training_s(self, member: _Member, event: events.UpdateReceived) -> float | None:
        told = _positive(event.metrics.get("seconds"))
        expected = self._expected_step_s(member)
        return told or (expected and expected * event.steps)

    def _rewind(self, event: events.RunRewound) -> None:
        """Forget what was under way, by nobody's fault, and what was measured of models that are gone."""
        for member in self._members.values():
            member.errand = None
            member.reserved.clear()
        self._collected = self._closed_at = None
        self._lapsing = set()
        self._evaluation_bytes.clear()
        self._losses = [each for each in self._losses if each[0] <= event.round]

    def _evaluate(self, event: events.RoundEvaluated) -> None:
        self._evaluation_bytes.pop(event.round, None)
        # The median of the clients, not their mean: one that lies must not move what policies read.
        median = median_loss(list(self._measured.values()))
        loss = event.metrics.get("loss") if median is None else median
        self._measured.clear()
        if loss is not None and math.isfinite(loss):
            self._losses.append((event.round, loss))


def _release(member: _Member, number: int) -> None:
    """Free what was reserved up to a round: who answers it works on nothing older."""
    member.reserved = {each: size for each, size in member.reserved.items() if each > number}


def _mean(before: float | None, newest: float) -> float:
    return newest if before is None else (1 - _NEWEST) * before + _NEWEST * newest


def _rate(before: float | None, size: int, seconds: float) -> float | None:
    """Return a mean rate in bytes per second: of the seconds that a byte takes, so that they add up."""
    if size <= 0 or seconds <= _INSTANT_S:
        return before
    return 1 / _mean(before and 1 / before, seconds / size)


def _positive(value: Plain) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


def _whole(value: Plain) -> int | None:
    number = _positive(value)
    return None if number is None else int(number)
