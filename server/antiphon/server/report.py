"""The report of a run, in numbers, from its journal alone.

`build` reads the events once, in time linear in their number, and tells of every round what the
round machine (server/round.py) made of it: a test holds the two against each other. `write` puts
report.json, report.md and plots/ into the run's folder; a run that was cut off gets a report too.

None (JSON null) means: not measured, or no finite number. Means over clients are unweighted
(macro), so that a small site counts as much as a large one. Seconds are real ones, without the time
in which no engine was running. A simulation's clock is virtual, so its real seconds are the sum of
its phases, one after the other in one process; what the clock says is `simulated_seconds`.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict, cast

from antiphon.core import events
from antiphon.core.events import Plain
from antiphon.core.files import write_text
from antiphon.core.journal import Entry, Journal
from antiphon.core.run_folder import RunFolder

Outcome = Literal["folded", "undone", "failed", "stopped", "open"]
"""How a round ended, in the round machine's words; `open`: it has not ended."""

_OPEN = ("assigned", "failed", "left")  # an update may still come from these
_TIMELY = (
    events.ClientJoined,
    events.ClientLeft,
    events.UpdateReceived,
    events.UpdateRejected,
    events.ClientFailed,
    events.Ticked,
)
_FLOAT32_BYTES = 4


class Scores(TypedDict):
    """Held-out numbers. loss: nats per token; accuracy, rouge_l: shares in [0, 1]."""

    loss: float | None
    accuracy: float | None
    perplexity: float | None
    rouge_l: float | None


class Measurement(Scores):
    """One client's scores. examples: held-out examples measured."""

    examples: int


class Evaluation(Scores):
    """One model's scores: means over clients, and each client's. round: the model is of."""

    round: int
    per_client: dict[str, Measurement]


class Problem(TypedDict):
    """One thing that went wrong. client: None where it is about the whole round.

    what: rejected, late, failed, left, unfinished, diverged; of a round: undone, failed, stopped.
    """

    round: int
    client: str | None
    what: str
    reason: str


class RoundReport(TypedDict):
    """One round. cohort, accepted, rejected, late: names of clients; reason: the policy's."""

    round: int
    outcome: Outcome
    loss: float | None
    accuracy: float | None
    per_client: dict[str, Measurement]
    bytes_up: int | None
    bytes_down: int | None
    seconds: float | None
    simulated_seconds: float | None
    seconds_by_phase: dict[str, float]
    cohort: list[str]
    accepted: list[str]
    rejected: list[str]
    late: list[str]
    aggregation_error: float | None
    plan: dict[str, dict[str, Plain]]
    reason: str


class Traffic(TypedDict):
    """Bytes on the wire; up is towards the coordinator."""

    up: int
    down: int


class ByteReport(TypedDict):
    """Bytes of the whole run, all purposes; None: no event tells of bytes.

    dense_float32: 4 bytes × trained parameters × (updates accepted + places in cohorts): FedAvg of
    the same rounds, uncompressed; full_model_float32: likewise with all the model's parameters.
    """

    up: int | None
    down: int | None
    dense_float32: int | None
    full_model_float32: int | None
    by_client: dict[str, Traffic]


class Report(TypedDict):
    """The content of report.json.

    run_dir, adapter: absolute paths; adapter: the last saved one that was not undone; initial: the
    untouched model; final: the last evaluated model that was not undone; seconds: `total`, and each
    phase by name; complete: every round is over, and one was folded; reason: why the run ended.
    """

    run_id: str | None
    run_dir: str | None
    adapter: str | None
    initial: Evaluation | None
    final: Evaluation | None
    rounds: list[RoundReport]
    bytes: ByteReport
    seconds: dict[str, float | None]
    simulated_seconds: float | None
    peak_memory_bytes: int | None
    facts: dict[str, Plain]
    train_examples: dict[str, int]
    skipped_rows: int | None
    problems: list[Problem]
    complete: bool
    reason: str | None


def build(
    entries: Iterable[Entry],
    run_dir: str | None = None,
    adapters: Mapping[int, str] | None = None,
) -> Report:
    """Return the report of a journal's entries.

    run_dir, and adapters (folders of saved adapters by round), are what a journal cannot know.
    """
    run = _Run()
    for entry in entries:
        run.read(entry)
    report = _report(run)
    report["run_dir"] = run_dir
    standing = {number: path for number, path in (adapters or {}).items() if run.stands(number)}
    report["adapter"] = standing[max(standing)] if standing else None
    return cast(Report, _finite(report))


def write(folder: RunFolder) -> Report:
    """Read a run's journal; write plots/, report.md and report.json, each whole or not at all.

    Returns the report. Raises RunFolderError where there is no journal, or the disk is full.
    """
    from antiphon.server import plots, report_page  # they name the types of this file

    with Journal.reading(folder.journal_file) as journal:
        report = build(journal.read(), str(folder.path.resolve()), _adapters(folder))
    drawn = plots.draw(report, folder.plots)
    others = {path.name: path.stem for path in sorted(folder.plots.glob("*.svg"))}
    titles = drawn | others | drawn  # ours first, then what others put there (the data's split)
    links = {f"{folder.plots.name}/{name}": title for name, title in titles.items()}
    write_text(folder.report_md, report_page.page(report, links))
    write_text(folder.report_json, json.dumps(report, allow_nan=False, indent=1) + "\n")
    return report


def _adapters(folder: RunFolder) -> dict[int, str]:
    found = [path.parent for path in folder.path.glob("rounds/*/adapter/adapter_config.json")]
    numbered = {path.parent.name: str(path.resolve()) for path in found}
    return {int(number): path for number, path in numbered.items() if number.isdecimal()}


class _Round:
    """One round while its events are read: the round machine's rules, by counting."""

    def __init__(
        self, event: events.RoundPlanned, now: float, began: float, present: set[str]
    ) -> None:
        self.planned, self.began = event, began
        self.deadline = now + event.deadline_s
        self.seconds: float | None = None
        self.phase: Literal["collecting", "folding", "evaluating", "over"] = "collecting"
        self.outcome: Outcome = "open"
        self.status = {each: "assigned" if each in present else "left" for each in event.cohort}
        self.counts = Counter(self.status.values())
        self.late: list[str] = []
        self.fold: Mapping[str, float] = {}

    def move(self, client: str, before: tuple[str, ...], after: str) -> bool:
        """Change a member's status if the round is collecting and it is in one of `before`."""
        status = self.status.get(client)
        if self.phase != "collecting" or status not in before:
            return False
        self.counts[status] -= 1
        self.counts[after] += 1
        self.status[client] = after
        return True

    def having(self, status: str) -> list[str]:
        """Return the members in a status, sorted."""
        return sorted(client for client, each in self.status.items() if each == status)

    def settled(self) -> bool:
        """Say whether nothing is left to wait for, or the quorum is out of reach."""
        waiting, accepted = self.counts["assigned"], self.counts["accepted"]
        return waiting == 0 or accepted + waiting < self.planned.quorum


class _Run:
    """What the report needs, gathered event by event."""

    def __init__(self) -> None:
        self.started: events.RunStarted | None = None
        self.end: tuple[bool, str] | None = None
        self.facts: dict[str, Plain] = {}
        self.peak: int | None = None
        self.present: set[str] = set()
        self.train_examples: dict[str, int] = {}
        self.receipts: dict[str, tuple[int, str]] = {}
        self.rounds: dict[int, _Round] = {}
        self.last: _Round | None = None
        self.failed_in_a_row = 0
        self.evaluated: defaultdict[int, dict[str, events.Evaluated]] = defaultdict(dict)
        self.means: dict[int, Mapping[str, float]] = {}
        self.moved: Counter[tuple[int, str]] = Counter()
        self.by_client: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.phases: defaultdict[int, dict[str, float]] = defaultdict(dict)
        self.problems: list[Problem] = []
        self.clock: float | None = None
        self.seconds = 0.0
        # The guard takes back the newest fold, and then none before there is another one.
        self.model, self.before = 0, -1
        self.undone: set[int] = set()

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

    def stands(self, number: int) -> bool:
        """Say whether the model of a round was not taken back."""
        return number not in self.undone

    def tell(self, number: int, client: str | None, what: str, reason: str) -> None:
        """Note that something went wrong."""
        self.problems.append(Problem(round=number, client=client, what=what, reason=reason))

    def close_if_settled(self) -> None:
        """Close the newest round if it has nothing to wait for."""
        if self.last and self.last.phase == "collecting" and self.last.settled():
            self.close("the quorum is out of reach")

    def close(self, cause: str) -> None:
        """Take no more updates for the newest round; below its quorum it has failed."""
        last = cast(_Round, self.last)
        accepted, quorum = last.counts["accepted"], last.planned.quorum
        for client in last.having("assigned"):
            self.tell(
                last.planned.round,
                client,
                "unfinished",
                f"the round closed before its update: {cause}",
            )
        if accepted >= quorum:
            last.phase, self.failed_in_a_row = "folding", 0
            return
        self.finish("failed", f"{cause}: {accepted} of {len(last.status)} updates, quorum {quorum}")

    def finish(self, outcome: Outcome, reason: str = "") -> None:
        """End the newest round, and the run with it where nothing may follow."""
        last, started = cast(_Round, self.last), self.started
        last.phase, last.outcome, last.seconds = "over", outcome, self.seconds - last.began
        if outcome != "folded":
            self.tell(last.planned.round, None, outcome, reason)
        self.failed_in_a_row = self.failed_in_a_row + 1 if outcome == "failed" else 0
        if started and self.failed_in_a_row >= started.max_failed_rounds:
            told = f"{self.failed_in_a_row} rounds in a row have failed"
            self.end = (False, f"{told}; round {last.planned.round}: {reason}")
        elif started and len(self.rounds) >= started.rounds:
            endings = Counter(each.outcome for each in self.rounds.values())
            told = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
            self.end = (endings["folded"] > 0, f"all rounds are over: {told}")


def _measure(run: _Run, event: events.Event) -> None:
    match event:
        case events.BytesMoved():
            run.moved[event.round, event.direction] += event.bytes
            run.by_client[event.client][event.direction] += event.bytes
        case events.Evaluated():
            run.evaluated[event.round][event.client] = event
            _check_loss(run, event.round, event.client, "held-out", event.loss)
        case events.UpdateReceived():
            _check_loss(run, event.round, event.client, "training", event.metrics.get("loss"))
        case events.PhaseTimed():
            phases = run.phases[event.round]
            phases[event.phase] = phases.get(event.phase, 0.0) + event.seconds
        case events.RunDescribed():
            run.facts.update(event.facts)
            peaks = (run.peak, _integer(event.facts, "peak_memory_bytes"))
            run.peak = max((each for each in peaks if each is not None), default=None)


def _check_loss(run: _Run, number: int, client: str, which: str, loss: float | None) -> None:
    if loss is not None and not math.isfinite(loss):
        run.tell(number, client, "diverged", f"its {which} loss is {loss}")


def _hear(run: _Run, event: events.Event) -> None:
    """Take in what a client caused."""
    last = run.last
    number = last.planned.round if last else 0
    match event:
        case events.ClientJoined():
            run.present.add(event.client)
            run.train_examples[event.client] = event.examples
            if last:
                last.move(event.client, ("left", "failed"), "assigned")
        case events.ClientLeft():
            run.present.discard(event.client)
            if last and last.move(event.client, ("assigned",), "left"):
                run.tell(number, event.client, "left", event.reason)
        case events.UpdateReceived() if last:
            _receive(run, last, event)
        case events.UpdateRejected():
            if last and event.round == number:
                last.move(event.client, _OPEN, "rejected")
            run.tell(event.round, event.client, "rejected", event.reason)
        case events.ClientFailed():
            if last and event.round == number:
                last.move(event.client, ("assigned", "left"), "failed")
            run.tell(event.round, event.client, "failed", event.reason)


def _receive(run: _Run, last: _Round, event: events.UpdateReceived) -> None:
    number, receipt = last.planned.round, (event.round, event.digest)
    if run.receipts.get(event.client) == receipt:
        return
    if event.client not in run.train_examples or event.round > number:
        run.tell(event.round, event.client, "rejected", "it was not asked for")
    elif event.round < number or last.phase != "collecting":
        if event.round in run.rounds:
            run.rounds[event.round].late.append(event.client)
        run.tell(event.round, event.client, "late", "the round was closed")
    elif last.move(event.client, _OPEN, "accepted"):
        run.receipts[event.client] = receipt
    else:
        status = last.status.get(event.client, "not in the cohort")
        run.tell(event.round, event.client, "rejected", f"the client is {status} already")


def _direct(run: _Run, event: events.Event, now: float) -> None:
    """Take in what the engine did."""
    last = run.last
    match event:
        case events.RunStarted():
            run.started = event
        case events.RoundPlanned():
            run.last = _Round(event, now, run.seconds, run.present)
            run.rounds[event.round] = run.last
            run.close_if_settled()
        case events.RoundFolded() if last:
            last.phase, last.fold = "evaluating", event.report
            run.model, run.before = event.round, run.model
        case events.RoundUndone() if last:
            run.finish("undone", event.reason)
            run.means.setdefault(event.round, {})
            if run.before >= 0:
                run.undone.add(run.model)
                run.model, run.before = run.before, -1
        case events.RoundEvaluated():
            run.means[event.round] = event.metrics
            if last and event.round > 0:
                run.finish("folded")
        case events.RunResumed():
            _resume(run, now)
        case events.RunStopped() if run.end is None:
            if last and last.phase != "over":
                run.finish("folded" if last.phase == "evaluating" else "stopped", event.reason)
            run.end = (False, event.reason)
        case events.RunEnded():
            run.end = (event.complete, event.reason)


def _resume(run: _Run, now: float) -> None:
    if run.end is not None and not run.end[0]:
        run.end, run.failed_in_a_row = None, 0
    if run.last and run.last.phase == "collecting":
        run.last.deadline = now + run.last.planned.deadline_s


def _report(run: _Run) -> Report:
    evaluations = {number: each for number in run.means if (each := _evaluation(run, number))}
    final = max((number for number in evaluations if run.stands(number)), default=0)
    phases: defaultdict[str, float] = defaultdict(float)
    for timed in run.phases.values():
        for phase, seconds in timed.items():
            phases[phase] += seconds
    real, simulated = _seconds(run, run.seconds if run.started else None, phases)
    complete, reason = run.end or (False, None)
    return Report(
        run_id=run.started.run_id if run.started else None,
        run_dir=None,
        adapter=None,
        initial=evaluations.get(0),
        final=evaluations[final] if final else None,
        rounds=[
            _round(run, each, evaluations.get(number))
            for number, each in sorted(run.rounds.items())
        ],
        bytes=_bytes(run),
        seconds={**phases, "total": real},
        simulated_seconds=simulated,
        peak_memory_bytes=run.peak,
        facts=run.facts,
        train_examples=dict(sorted(run.train_examples.items())),
        skipped_rows=_integer(run.facts, "skipped_rows"),
        problems=run.problems,
        complete=complete,
        reason=reason,
    )


def _seconds(
    run: _Run, clock: float | None, phases: Mapping[str, float]
) -> tuple[float | None, float | None]:
    """Return real and simulated seconds."""
    if run.facts.get("engine") != "simulation":
        return clock, None
    return (sum(phases.values()) if phases else None), clock


def _round(run: _Run, each: _Round, evaluation: Evaluation | None) -> RoundReport:
    number = each.planned.round
    phases = run.phases.get(number, {})
    clock = run.seconds - each.began if each.seconds is None else each.seconds
    real, simulated = _seconds(run, clock, phases)
    return RoundReport(
        round=number,
        outcome=each.outcome,
        loss=evaluation["loss"] if evaluation else None,
        accuracy=evaluation["accuracy"] if evaluation else None,
        per_client=evaluation["per_client"] if evaluation else {},
        bytes_up=run.moved[number, "up"] if run.moved else None,
        bytes_down=run.moved[number, "down"] if run.moved else None,
        seconds=real,
        simulated_seconds=simulated,
        seconds_by_phase=phases,
        cohort=list(each.planned.cohort),
        accepted=each.having("accepted"),
        rejected=each.having("rejected"),
        late=each.late,
        aggregation_error=each.fold.get("aggregation_error"),
        plan={client: dict(asked) for client, asked in each.planned.plan.items()},
        reason=each.planned.reason,
    )


def _evaluation(run: _Run, number: int) -> Evaluation | None:
    """Return the evaluation of a round unless it was cut off."""
    means, clients = run.means.get(number), run.evaluated.get(number, {})
    if means is None or not (means or clients):
        return None
    per_client = {
        name: Measurement(
            examples=each.examples,
            loss=each.loss,
            accuracy=each.accuracy,
            perplexity=each.perplexity,
            rouge_l=each.rouge_l,
        )
        for name, each in sorted(clients.items())
    }
    scores = {
        name: _mean([getattr(each, name) for each in clients.values()])
        if clients
        else means.get(name)
        for name in Scores.__annotations__
    }
    return cast(Evaluation, {"round": number, **scores, "per_client": per_client})


def _bytes(run: _Run) -> ByteReport:
    rounds = run.rounds.values()
    sent = sum(each.counts["accepted"] + len(each.status) for each in rounds)
    trained, model = (_integer(run.facts, f"{each}_parameters") for each in ("trained", "model"))
    up, down = (
        sum(size for (_, each), size in run.moved.items() if each == direction)
        for direction in ("up", "down")
    )
    return ByteReport(
        up=up if run.moved else None,
        down=down if run.moved else None,
        dense_float32=None if trained is None else _FLOAT32_BYTES * trained * sent,
        full_model_float32=None if model is None else _FLOAT32_BYTES * model * sent,
        by_client={
            client: Traffic(up=moved["up"], down=moved["down"])
            for client, moved in sorted(run.by_client.items())
        },
    )


def _mean(values: list[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None


def _integer(facts: Mapping[str, Plain], name: str) -> int | None:
    value = facts.get(name)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """Return a JSON value with null for every number that JSON does not have."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case list():
            return [_finite(each) for each in value]
    return value
