"""The numbers of a report, from real journals."""

from dataclasses import replace
from pathlib import Path

from tests.server.journals import (
    JOINED,
    OPENING,
    evaluated,
    planned,
    report_of,
    update,
    whole_round,
)

from antiphon.core.events import (
    BytesMoved,
    Evaluated,
    Event,
    RoundEvaluated,
    RoundFolded,
    RunDescribed,
    RunResumed,
    RunStopped,
    Ticked,
)
from antiphon.core.journal import Entry
from antiphon.core.types import Plain
from antiphon.server.report.report import build


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


def test_run_that_its_policy_ended(tmp_path: Path) -> None:
    """A run that has spent its budget after a folded round is complete, also when it is begun again."""
    spent = RunStopped("spent", by_policy=True)

    report = report_of(tmp_path, *OPENING, *whole_round(1), spent, RunResumed())

    assert (report["complete"], report["reason"]) == (True, "spent")
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
    initial = report_of(tmp_path, *JOINED, *evaluated(0, 1.0, 2.0))["initial"]

    assert initial is not None
    assert (initial["loss"], initial["accuracy"], initial["rouge_l"]) == (1.5, 0.625, None)
    assert initial["per_client"]["south"]["examples"] == 30


def test_exact_match_is_reported(tmp_path: Path) -> None:
    """What was measured stands with the means and with its client; what was not is null."""
    matched = Evaluated(0, "north", 10, loss=1.0, exact_match=0.25)

    initial = report_of(tmp_path, *JOINED, matched, RoundEvaluated(0, {"loss": 1.0}))["initial"]

    assert initial is not None
    assert (initial["exact_match"], initial["accuracy"]) == (0.25, None)
    assert initial["per_client"]["north"]["exact_match"] == 0.25


def test_means_without_clients(tmp_path: Path) -> None:
    """Where no client's numbers were kept, the round's own means are reported."""
    initial = report_of(tmp_path, *JOINED, RoundEvaluated(0, {"loss": 1.25}))["initial"]

    assert initial is not None
    assert (initial["loss"], initial["accuracy"], initial["per_client"]) == (1.25, None, {})


def test_half_an_evaluation_is_none(tmp_path: Path) -> None:
    """An evaluation that was cut off gives no mean: it would be of other clients."""
    report = report_of(tmp_path, *JOINED, Evaluated(0, "north", 10, loss=1.0))

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
    assert (report["simulated_seconds"], report["rounds"][0]["simulated_seconds"]) == (15.0, 9.0)


def test_bytes(tmp_path: Path) -> None:
    """Dense float32 is 4 bytes × parameters × (updates accepted + places) of the rounds that are over."""
    report = report_of(tmp_path, *OPENING, *whole_round(1), planned(2), update("north", 2))

    moved = report["bytes"]
    assert (moved["up"], moved["down"]) == (700, 900)
    assert moved["by_client"] == {"north": {"up": 700, "down": 900}}
    assert moved["dense_float32"] == 4 * 1000 * (2 + 2)
    assert moved["full_model_float32"] == 4 * 50_000 * (2 + 2)


def test_bytes_beside_a_and_b(tmp_path: Path) -> None:
    """What an adapter of the run's rank would have moved as float32, whatever of it is trained."""
    adapter = RunDescribed({"adapter_parameters": 3000})

    report = report_of(tmp_path, *OPENING, adapter, *whole_round(1))

    assert report["bytes"]["adapter_float32"] == 4 * 3000 * (2 + 2)


def test_nothing_is_saved_without_an_accepted_update(tmp_path: Path) -> None:
    """Models that were fetched in vain are not compared with what dense float32 would have taken."""
    moved = BytesMoved(1, "north", "down", "model", 900)
    late = [Ticked(), Ticked()]
    report = report_of(tmp_path, *OPENING, replace(planned(1), deadline_s=1.0), moved, *late)

    assert report["rounds"][0]["outcome"] == "failed"
    assert report["bytes"]["dense_float32"] is None


def test_evaluation_is_not_training(tmp_path: Path) -> None:
    """A model that was only measured, and messages, are beside what training takes in float32."""
    first: list[Event] = [
        BytesMoved(1, "north", "down", "model", 1000),
        BytesMoved(1, "north", "up", "update", 700),
        BytesMoved(1, "north", "up", "control", 50),
        update("north"),
        update("south"),
        RoundFolded(1, "digest"),
        BytesMoved(1, "north", "down", "model", 4000),
    ]

    moved = report_of(tmp_path, *OPENING, planned(1), *first)["bytes"]

    assert (moved["up"], moved["down"], moved["training"]) == (750, 5000, 1700)


def test_a_model_that_is_measured_and_trained_from(tmp_path: Path) -> None:
    """What a client fetched to measure it is training's as soon as it trains from it."""
    measured = [BytesMoved(0, name, "down", "model", 1000) for name in ("north", "south", "east")]

    moved = report_of(tmp_path, *OPENING, *measured, planned(1))["bytes"]

    assert (moved["down"], moved["training"]) == (3000, 2000)


def test_facts_add_up(tmp_path: Path) -> None:
    """Later facts add to earlier ones; the memory's peak is the highest of all processes."""
    facts: list[dict[str, Plain]] = [
        {"peak_memory_bytes": 9},
        {"peak_memory_bytes": 7, "skipped_rows": 3},
    ]

    report = report_of(tmp_path, *OPENING, *map(RunDescribed, facts))

    assert (report["peak_memory_bytes"], report["skipped_rows"]) == (9, 3)
    assert report["facts"]["method"] == "lora"


def test_an_event_that_the_machine_refuses(tmp_path: Path) -> None:
    """A journal in which an engine erred has a report all the same, which names what it passed over."""
    twice = [RoundFolded(1, "again"), *whole_round(2)]

    report = report_of(tmp_path, *OPENING, *whole_round(1), *twice)

    assert [each["outcome"] for each in report["rounds"]] == ["folded", "folded"]
    [each] = report["problems"]
    assert (each["what"], "RoundFolded" in each["reason"]) == ("out of place", True)
