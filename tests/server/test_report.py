"""The numbers of a report, from real journals."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import RunFolderError
from antiphon.core.events import (
    BytesMoved,
    ClientFailed,
    ClientJoined,
    ClientLeft,
    Evaluated,
    Event,
    PhaseTimed,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunDescribed,
    RunResumed,
    RunStarted,
    RunStopped,
    Ticked,
    UpdateReceived,
    UpdateRejected,
)
from antiphon.core.journal import Entry, Journal
from antiphon.core.run_folder import RunFolder
from antiphon.core.types import Plain
from antiphon.server.actions import Action, Evaluate, Fold, PlanRound
from antiphon.server.report import build, write
from antiphon.server.report_types import Report
from antiphon.server.round import pending_actions, step
from antiphon.server.run_state import Outcome, RunState

OPENING: list[Event] = [
    RunStarted("quickstart", "0123", rounds=2, min_clients=2, max_failed_rounds=2),
    RunDescribed({"method": "lora", "trained_parameters": 1000, "model_parameters": 50_000}),
    ClientJoined("north", 100),
    ClientJoined("south", 300),
]


def evaluated(number: int, north: float | None, south: float | None) -> list[Event]:
    """Return a whole evaluation with these losses."""
    return [
        Evaluated(number, "north", 10, loss=north, accuracy=0.5),
        Evaluated(number, "south", 30, loss=south, accuracy=0.75),
        RoundEvaluated(number, {"loss": 0.0}),
    ]


def planned(number: int) -> RoundPlanned:
    """Return a plan for both clients whose deadline is 60 s away."""
    asked = {"north": {"steps": 5}, "south": {"steps": 5}}
    return RoundPlanned(number, ("north", "south"), 1, 60.0, "everyone", asked)


def update(client: str, number: int = 1) -> UpdateReceived:
    """Return an update; each client and round has its own digest."""
    return UpdateReceived(client, number, f"{client}{number}", 700, 100, 5, {"loss": 1.0})


def whole_round(number: int, loss: float = 0.5) -> list[Event]:
    """Return a round in which both clients deliver, with its evaluation."""
    return [
        planned(number),
        BytesMoved(number, "north", "down", "model", 900),
        BytesMoved(number, "north", "up", "update", 700),
        update("north", number),
        update("south", number),
        PhaseTimed(number, "fold", 2.0),
        RoundFolded(number, "digest", {"aggregation_error": 0.125}),
        *evaluated(number, loss, loss + 0.5),
    ]


def folder_of(path: Path, events: Iterable[Event]) -> RunFolder:
    """Write a journal, one event per second."""
    with Journal.writing(RunFolder(path).journal_file) as journal:
        for at_s, event in enumerate(events):
            journal.append(event, float(at_s))
    return RunFolder(path)


def report_of(path: Path, *events: Event) -> Report:
    """Return the report of a real journal that holds these."""
    with Journal.reading(folder_of(path, events).journal_file) as journal:
        return build(journal.read())


def whats(report: Report) -> list[tuple[int, str | None, str]]:
    """Return what went wrong, without the reasons."""
    return [(each["round"], each["client"], each["what"]) for each in report["problems"]]


def test_empty_journal(tmp_path: Path) -> None:
    """An empty journal tells of nothing: null everywhere, and no error."""
    report = report_of(tmp_path)

    assert [report["run_id"], report["initial"], report["final"], report["adapter"]] == [None] * 4
    assert (report["rounds"], report["complete"]) == ([], False)
    assert report["bytes"]["up"] is report["bytes"]["dense_float32"] is None
    assert report["seconds"] == {"total": None}


def test_complete_run(tmp_path: Path) -> None:
    """A run whose last round is over is complete, also before RunEnded says so."""
    report = report_of(tmp_path, *OPENING, *whole_round(1), *whole_round(2))

    assert (report["complete"], report["reason"]) == (True, "all rounds are over: 2 folded")
    assert [each["outcome"] for each in report["rounds"]] == ["folded", "folded"]
    assert report["problems"] == []


def test_round(tmp_path: Path) -> None:
    """A round tells who took part, what it measured, and why it was planned so."""
    [each] = report_of(tmp_path, *OPENING, *whole_round(1))["rounds"]

    assert each["cohort"] == each["accepted"] == ["north", "south"]
    assert (each["loss"], each["accuracy"], each["aggregation_error"]) == (0.75, 0.625, 0.125)
    assert (each["bytes_up"], each["bytes_down"]) == (700, 900)
    assert (each["seconds"], each["seconds_by_phase"]) == (9.0, {"fold": 2.0})
    assert (each["reason"], each["plan"]["north"]) == ("everyone", {"steps": 5})


def test_means_are_macro(tmp_path: Path) -> None:
    """A client's share in a mean does not depend on its number of examples."""
    initial = report_of(tmp_path, *OPENING, *evaluated(0, 1.0, 2.0))["initial"]

    assert initial is not None
    assert (initial["loss"], initial["accuracy"], initial["rouge_l"]) == (1.5, 0.625, None)
    assert initial["per_client"]["south"]["examples"] == 30


def test_means_without_clients(tmp_path: Path) -> None:
    """Where no client's numbers were kept, the round's own means are reported."""
    initial = report_of(tmp_path, *OPENING, RoundEvaluated(0, {"loss": 1.25}))["initial"]

    assert initial is not None
    assert (initial["loss"], initial["accuracy"], initial["per_client"]) == (1.25, None, {})


def test_half_an_evaluation_is_none(tmp_path: Path) -> None:
    """An evaluation that was cut off gives no mean: it would be of other clients."""
    report = report_of(tmp_path, *OPENING, Evaluated(0, "north", 10, loss=1.0))

    assert report["initial"] is None


def test_no_evaluation_was_asked_for(tmp_path: Path) -> None:
    """The final numbers are the last measured ones, with the round they are of."""
    second = [*whole_round(2)[:-3], RoundEvaluated(2)]

    final = report_of(tmp_path, *OPENING, *whole_round(1), *second)["final"]

    assert final is not None
    assert (final["round"], final["loss"]) == (1, 0.75)


def test_interrupted_mid_round(tmp_path: Path) -> None:
    """A run that was cut off tells of the open round, and of no end."""
    report = report_of(tmp_path, *OPENING, *whole_round(1), planned(2), update("north", 2))

    last = report["rounds"][-1]
    assert (last["outcome"], last["accepted"], last["loss"]) == ("open", ["north"], None)
    assert (report["complete"], report["reason"]) == (False, None)


def test_repeated_work_counts_once(tmp_path: Path) -> None:
    """After a crash an evaluation is done again: the client's newer numbers replace the older."""
    again: list[Event] = [RunResumed(), *evaluated(1, 3.0, 5.0)]

    report = report_of(tmp_path, *OPENING, *whole_round(1)[:-1], *again)

    assert report["rounds"][0]["loss"] == 4.0


def test_time_without_an_engine_is_not_counted() -> None:
    """The time between a crash and the resumption is nobody's."""
    times = [(OPENING[0], 0.0), (Ticked(), 10.0), (RunResumed(), 5000.0), (Ticked(), 5002.0)]

    report = build(Entry(seq, at_s, event) for seq, (event, at_s) in enumerate(times, 1))

    assert report["seconds"]["total"] == 12.0


def test_simulated_time(tmp_path: Path) -> None:
    """A simulation's clock is not real time: its phases are."""
    engine = RunDescribed({"engine": "simulation"})

    report = report_of(tmp_path, *OPENING, engine, *whole_round(1))

    assert report["seconds"] == {"fold": 2.0, "total": 2.0}
    assert (report["simulated_seconds"], report["rounds"][0]["simulated_seconds"]) == (14.0, 9.0)


def test_undone_after_its_fold(tmp_path: Path) -> None:
    """A round undone by its own evaluation shows the numbers, but they are not final."""
    exploded = [*whole_round(2, loss=80.0)[:-1], RoundUndone(2, "the loss exploded")]

    report = report_of(tmp_path, *OPENING, *whole_round(1), *exploded)

    assert [each["outcome"] for each in report["rounds"]] == ["folded", "undone"]
    assert report["rounds"][1]["loss"] == 80.25
    assert report["final"] is not None
    assert report["final"]["round"] == 1
    assert whats(report) == [(2, None, "undone")]


def test_undone_before_its_fold(tmp_path: Path) -> None:
    """A round undone before its fold takes back the fold before: that model is not final either."""
    second: list[Event] = [
        planned(2),
        update("north", 2),
        update("south", 2),
        RoundUndone(2, "exploded"),
    ]

    report = report_of(tmp_path, *OPENING, *evaluated(0, 1.0, 1.0), *whole_round(1), *second)

    assert report["final"] is None
    assert report["initial"] is not None


def test_rejected_update(tmp_path: Path) -> None:
    """A rejected update names the client and the reason, and is not among the accepted."""
    rejected = UpdateRejected("south", 1, "it holds NaN")

    report = report_of(tmp_path, *OPENING, planned(1), rejected, update("north"))

    [each] = report["rounds"]
    assert (each["accepted"], each["rejected"]) == (["north"], ["south"])
    assert report["problems"][0]["reason"] == "it holds NaN"


def test_late_update(tmp_path: Path) -> None:
    """An update after the deadline is late, whether or not the timer was there first."""
    entries = [Entry(seq, float(seq), event) for seq, event in enumerate([*OPENING, planned(1)])]
    late = [update("north"), update("south")]

    report = build([*entries, Entry(9, 9.0, late[0]), Entry(10, 64.5, late[1])])

    assert report["rounds"][0]["late"] == ["south"]
    assert whats(report) == [(1, "south", "unfinished"), (1, "south", "late")]


def test_update_after_everybody_is_settled(tmp_path: Path) -> None:
    """A round closes when nothing is left to wait for; what comes then is late."""
    failed = ClientFailed("south", 1, "out of memory")

    report = report_of(tmp_path, *OPENING, planned(1), update("north"), failed, update("south"))

    assert (report["rounds"][0]["accepted"], report["rounds"][0]["late"]) == (["north"], ["south"])


def test_client_is_back_in_time(tmp_path: Path) -> None:
    """A client that failed, left and joined again is waited for again."""
    left, back = ClientLeft("south"), ClientJoined("south", 300)
    again: list[Event] = [ClientFailed("south", 1, "crash"), left, back]

    report = report_of(tmp_path, *OPENING, planned(1), *again, update("north"), update("south"))

    assert report["rounds"][0]["accepted"] == ["north", "south"]


def test_failed_round(tmp_path: Path) -> None:
    """A round below its quorum has failed, with the reason of each client that did not deliver."""
    gone: list[Event] = [
        ClientFailed("north", 1, "out of memory"),
        ClientLeft("south", "lease ran out"),
        ClientFailed("south", 1, "the disk is full"),
    ]

    report = report_of(tmp_path, *OPENING, planned(1), *gone)

    south = [(1, "south", "left"), (1, "south", "failed")]
    assert report["rounds"][0]["outcome"] == "failed"
    assert whats(report) == [(1, "north", "failed"), *south, (1, None, "failed")]


def test_stopped_run(tmp_path: Path) -> None:
    """A stopped run says why, and so does the round that it cut off."""
    report = report_of(tmp_path, *OPENING, planned(1), RunStopped("the operator said so"))

    assert (report["complete"], report["reason"]) == (False, "the operator said so")
    assert report["rounds"][0]["outcome"] == "stopped"


def test_diverged_losses(tmp_path: Path) -> None:
    """A loss that is no number makes the mean null, and is said to be a problem."""
    report = report_of(tmp_path, *OPENING, *evaluated(0, math.nan, 2.0))

    assert report["initial"] is not None
    assert report["initial"]["loss"] is None
    assert report["initial"]["per_client"]["south"]["loss"] == 2.0
    assert whats(report) == [(0, "north", "diverged")]


def test_bytes(tmp_path: Path) -> None:
    """Dense float32 is 4 bytes × parameters × (updates accepted + places in cohorts)."""
    report = report_of(tmp_path, *OPENING, *whole_round(1), planned(2), update("north", 2))

    moved = report["bytes"]
    assert (moved["up"], moved["down"]) == (700, 900)
    assert moved["by_client"] == {"north": {"up": 700, "down": 900}}
    assert moved["dense_float32"] == 4 * 1000 * (3 + 4)
    assert moved["full_model_float32"] == 4 * 50_000 * (3 + 4)


def test_facts_add_up(tmp_path: Path) -> None:
    """Later facts add to earlier ones; the memory's peak is the highest of all processes."""
    facts: list[dict[str, Plain]] = [
        {"peak_memory_bytes": 9},
        {"peak_memory_bytes": 7, "skipped_rows": 3},
    ]

    report = report_of(tmp_path, *OPENING, *map(RunDescribed, facts))

    assert (report["peak_memory_bytes"], report["skipped_rows"]) == (9, 3)
    assert report["facts"]["method"] == "lora"


def test_written_json_has_no_nan(tmp_path: Path) -> None:
    """report.json is what `write` returns, and JSON in the strict sense."""
    broken = RunDescribed({"skipped_rows": math.inf})
    folder = folder_of(tmp_path, [*OPENING, broken, *whole_round(1, loss=math.nan)])

    report = write(folder)

    text = folder.report_json.read_text()
    assert json.loads(text, parse_constant=pytest.fail) == report
    assert report["skipped_rows"] is None


def test_paths(tmp_path: Path) -> None:
    """The adapter is the last saved one whose round was not undone, as an absolute path."""
    undone = [*whole_round(2)[:-1], RoundUndone(2, "exploded")]
    folder = folder_of(tmp_path, [*OPENING, *whole_round(1), *undone])
    for number in (1, 2):
        folder.adapter(number).mkdir(parents=True)
        (folder.adapter(number) / "adapter_config.json").write_text("{}")

    report = write(RunFolder(Path(os.path.relpath(tmp_path))))

    assert report["run_dir"] == str(tmp_path.resolve())
    assert report["adapter"] == str(folder.adapter(1).resolve())


def test_written_again(tmp_path: Path) -> None:
    """A second report replaces the first, and other pictures in plots/ stay."""
    folder = folder_of(tmp_path, [*OPENING, *whole_round(1)])
    folder.plots.mkdir()
    (folder.plots / "split.svg").write_text("<svg/>")

    assert write(folder) == write(folder)

    assert "](plots/split.svg)" in folder.report_md.read_text()
    left = {path.name for path in folder.plots.iterdir()}
    assert left == {"bytes.svg", "learning.svg", "split.svg", "time.svg"}


def test_no_journal(tmp_path: Path) -> None:
    """A folder without a journal is no run, and nothing is written there."""
    with pytest.raises(RunFolderError, match="no journal"):
        write(RunFolder(tmp_path))

    assert list(tmp_path.iterdir()) == []


def test_linear_in_the_events() -> None:
    """200 clients × 100 rounds are read in under a second."""
    names = tuple(f"client-{number:03d}" for number in range(200))
    events: list[Event] = [RunStarted("big", "0", 100, 200, 3)]
    events += [ClientJoined(name, 100) for name in names]
    for number in range(1, 101):
        events.append(RoundPlanned(number, names, 200, math.inf))
        events += [update(name, number) for name in names]
        events += [RoundFolded(number, ""), RoundEvaluated(number)]
    entries = [Entry(seq, float(seq), event) for seq, event in enumerate(events, 1)]
    began = process_time()

    report = build(entries)

    assert process_time() - began < 1.0
    assert report["complete"]


CLIENTS = st.sampled_from("abc")
NUMBERS = st.sampled_from([0, 0, 0, 0, -1, 1])  # counted from the machine's round
HAPPENING: st.SearchStrategy[Event | float] = st.one_of(
    st.builds(ClientJoined, CLIENTS, st.just(10)),
    st.builds(ClientLeft, CLIENTS),
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
    st.builds(ClientFailed, CLIENTS, NUMBERS, st.just("tired")),
    st.sampled_from([Ticked(), RunResumed(), RunStopped("enough")]),
    st.floats(0.0, 40.0),
)
ENGINE = st.sampled_from(["at once", "at once", "later", "undoes", "buffers"])
SCRIPT = st.lists(st.tuples(HAPPENING, ENGINE), max_size=60)


def answer(action: Action, engine: str) -> Event | None:
    """Return what an engine says when it has done what the machine asked for."""
    match action:
        case PlanRound(number, clients) if engine == "buffers":
            return RoundPlanned(number, clients, 1, 60.0, enough=1, max_staleness=1)
        case PlanRound(number, clients):
            return RoundPlanned(number, clients, 2, 60.0)
        case Fold(number, _):
            return RoundUndone(number, "bad") if engine == "undoes" else RoundFolded(number, "")
        case Evaluate(number):
            undoes = engine == "undoes" and number > 0
            return RoundUndone(number, "bad") if undoes else RoundEvaluated(number)
    return None


def recorded(script: list[tuple[Event | float, str]]) -> tuple[RunState, list[Entry]]:
    """Drive the round machine and keep the journal; a number lets that many seconds pass."""
    state, now, entries = RunState(), 0.0, list[Entry]()
    for happens, engine in script:
        event: Event | None = None
        if isinstance(happens, float):
            now += happens
        else:
            event = happens
        if isinstance(event, UpdateReceived | UpdateRejected | ClientFailed):
            event = replace(event, round=state.round + event.round)
        while event is not None:
            state, _ = step(state, event, now)
            entries.append(Entry(len(entries) + 1, now, event))
            pending = pending_actions(state)[:1] if engine != "later" else ()
            event = answer(pending[0], engine) if pending else None
    return state, entries


@given(SCRIPT, st.integers(2, 3))
def test_agrees_with_the_round_machine(
    script: list[tuple[Event | float, str]], clients: int
) -> None:
    """Whatever happens, the report tells of each round, and of the end, as the machine does."""
    start = RunStarted("any", "0", rounds=4, min_clients=clients, max_failed_rounds=2)
    joined: list[Event] = [start, *(ClientJoined(name, 10) for name in "abc")]
    state, entries = recorded([*((event, "at once") for event in joined), *script])

    report = build(entries)

    assert [
        Outcome(
            each["round"], each["outcome"], "", tuple(each["accepted"]), tuple(each["rejected"])
        )
        for each in report["rounds"]
        if each["outcome"] != "open"
    ] == [replace(each, reason="") for each in state.outcomes]
    over = state.phase in ("complete", "stopped")
    assert report["complete"] == (state.phase == "complete")
    assert report["reason"] == (state.reason if over else None)
