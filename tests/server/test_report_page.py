"""The page of a run, from real journals."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.events import (
    BY_POLICY,
    BytesMoved,
    ClientFailed,
    ClientJoined,
    Evaluated,
    Event,
    PhaseTimed,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RoundUndone,
    RunDescribed,
    RunStarted,
    RunStopped,
    UpdateReceived,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.server.report.report import write
from antiphon.server.report.report_page import bytes_said, duration, share, times_less

START = RunStarted("quickstart", "0123", rounds=1, min_clients=1, max_failed_rounds=1)
FACTS = RunDescribed(
    {"trained_parameters": 25_000, "peak_memory_bytes": 1_500_000_000, "skipped_rows": 3}
)


def whole_run(client: str = "north") -> list[Event]:
    """Return a run of one round and one client."""
    return [
        START,
        FACTS,
        ClientJoined(client, 100),
        Evaluated(0, client, 10, loss=1.0, accuracy=0.5),
        RoundEvaluated(0, {"loss": 1.0}),
        RoundPlanned(1, (client,), 1, 60.0, "everyone, always"),
        BytesMoved(1, client, "down", "model", 1200),
        BytesMoved(1, client, "up", "update", 800),
        UpdateReceived(client, 1, "digest", 800, 100, 5),
        PhaseTimed(1, "training", 90.0),
        RoundFolded(1, "digest", {"aggregation_error": 0.0}),
        Evaluated(1, client, 10, loss=0.25, accuracy=0.875),
        RoundEvaluated(1, {"loss": 0.25}),
    ]


def page_of(path: Path, events: Iterable[Event], adapter: int | None = None) -> str:
    """Write a real run folder, with one event a second, and return its page."""
    folder = RunFolder(path)
    with Journal.writing(folder.journal_file) as journal:
        for at_s, event in enumerate(events):
            journal.append(event, float(at_s))
    if adapter is not None:
        folder.adapter(adapter).mkdir(parents=True)
        (folder.adapter(adapter) / "adapter_config.json").write_text("{}")
    write(folder)
    return folder.report_md.read_text()


def section(page: str, title: str) -> str:
    """Return one section of a page."""
    return page.split(f"## {title}\n\n")[1].split("\n\n## ")[0].strip()


def test_summary(tmp_path: Path) -> None:
    """One paragraph tells what was learned, and at what cost."""
    summary = page_of(tmp_path, whole_run()).split("\n\n")[1]

    assert "The run is complete: 1 round ended, 1 of them with a new model." in summary
    assert "accuracy 50 % → **87.5 %**, loss 1 → **0.25**" in summary
    assert "moved 2 kB (**100 times less than** sending" in summary
    assert "took 12 s and needed 1.5 GB of memory" in summary


def test_other_clients_at_the_end(tmp_path: Path) -> None:
    """Start and end are compared over the clients that were measured both times, and it is said."""
    run = whole_run()
    hard = Evaluated(0, "south", 10, loss=9.0, accuracy=0.0)

    summary = page_of(tmp_path, [*run[:4], hard, *run[4:]]).split("\n\n")[1]

    assert "accuracy 50 % → **87.5 %**, loss 1 → **0.25**" in summary
    assert "mean over clients (the 1 measured both times, of 2 before and 1 after)" in summary


def test_nobody_was_measured_twice(tmp_path: Path) -> None:
    """Where no client was there both times, the end stands alone."""
    run = whole_run()
    others = [Evaluated(0, "south", 10, loss=9.0, accuracy=0.0)]

    summary = page_of(tmp_path, [*run[:3], *others, *run[4:]]).split("\n\n")[1]

    assert "accuracy **87.5 %**, loss **0.25**" in summary
    assert "none of the 1 clients was measured before training" in summary


def test_waiting_is_part_of_the_time(tmp_path: Path) -> None:
    """What no phase of a real run tells of is the clients' time."""
    run = [
        PhaseTimed(1, "fold", 3.0) if isinstance(each, PhaseTimed) else each for each in whole_run()
    ]

    phases = section(page_of(tmp_path, run), "Time by phase")

    assert "| waiting for clients | 9 s | 75 % |\n| fold | 3 s | 25 % |" in phases


def test_tables(tmp_path: Path) -> None:
    """Each round and each client has its row."""
    page = page_of(tmp_path, whole_run())

    assert "| 1 | folded | 0.25 | 87.5 % | 1 of 1 | 800 B | 1.2 kB | 7 s | 0 | everyone," in page
    assert "| north | 100 | 10 | 1 | 0.25 | 50 % | 87.5 % | 800 B | 1.2 kB |" in page
    assert "| training | 90 s | 100 % |" in page
    assert "| the trained numbers as dense float32 | 200 kB | 100 times |" in page


def test_training_is_compared_with_training(tmp_path: Path) -> None:
    """What evaluation and messages move stands apart, and dense float32 beside the rest."""
    run = whole_run()
    others = [
        BytesMoved(1, "north", "down", "model", 6000),
        BytesMoved(1, "north", "up", "control", 9),
    ]

    page = page_of(tmp_path, [*run[:-2], *others, *run[-2:]])

    assert "moved 8.01 kB, 2 kB of them for training (**100 times less than** sending" in page
    assert "| for evaluation and messages | 6.01 kB |  |" in page
    assert "| the trained numbers as dense float32 | 200 kB | 100 times |" in page


def test_pictures_exist(tmp_path: Path) -> None:
    """Every picture on the page is a relative link to a file that is there."""
    page = page_of(tmp_path, whole_run())

    links = [line.split("](")[1].rstrip(")") for line in page.splitlines() if line[:2] == "!["]
    assert links == ["plots/learning.svg", "plots/bytes.svg", "plots/time.svg"]
    assert all((tmp_path / link).is_file() for link in links)


def test_nothing_went_wrong(tmp_path: Path) -> None:
    """A clean run says so."""
    page = page_of(tmp_path, [event for event in whole_run() if event is not FACTS])

    assert section(page, "What went wrong") == "Nothing."


def test_what_went_wrong(tmp_path: Path) -> None:
    """Skipped rows, failed clients and rounds that came to nothing have their reasons."""
    failed = ClientFailed("north", 1, "out of memory")

    said = section(page_of(tmp_path, [*whole_run()[:6], failed]), "What went wrong").splitlines()

    assert said == [
        "- 3 broken rows of the data skipped.",
        "- Round 1: `north` failed: out of memory",
        "- Round 1: failed: the quorum is out of reach: 0 of 1 updates, quorum 1",
    ]


def test_undone_round(tmp_path: Path) -> None:
    """An undone round is in the table and among what went wrong."""
    page = page_of(tmp_path, [*whole_run()[:-1], RoundUndone(1, "the loss exploded")])

    assert "| 1 | undone |" in page
    assert "- Round 1: undone: the loss exploded" in page


def test_many_problems_are_cut(tmp_path: Path) -> None:
    """A long list of problems ends with the number of those left out."""
    failed = [ClientFailed("north", 0, f"reason {number}") for number in range(40)]

    said = section(page_of(tmp_path, [*whole_run(), *failed]), "What went wrong")

    assert "and 10 more, in report.json" in said


def test_adapter_is_used(tmp_path: Path) -> None:
    """The page shows how to load the adapter from its own folder, and how to export it."""
    usage = section(page_of(tmp_path, whole_run(), adapter=1), "Use the adapter")

    assert 'adapter = "rounds/0001/adapter"' in usage
    assert "PeftModel.from_pretrained(" in usage
    assert "antiphon export . --out DIR" in usage


@pytest.mark.slow
@pytest.mark.parametrize("length", range(len(whole_run())))
def test_interrupted_anywhere(tmp_path: Path, length: int) -> None:
    """A run that was cut off after any event gives a page that says so."""
    page = page_of(tmp_path, whole_run()[:length])

    assert "The run is not over" in page
    assert section(page, "Use the adapter") == "No adapter was saved."


@pytest.mark.parametrize("engine", ["grpc", "flower"])
def test_a_name_of_ours_is_looked_up(tmp_path: Path, engine: str) -> None:
    """The adapter of a run whose coordinator has no model holds a name that PEFT cannot load."""
    named = RunDescribed({"engine": engine, "model": "tiny"})

    usage = section(page_of(tmp_path, [*whole_run(), named], adapter=1), "Use the adapter")

    found = 'base = model_folder("tiny")  # the folder that `antiphon fetch tiny` prints'
    assert found in usage
    assert "PeftConfig" not in usage


@pytest.mark.parametrize(
    ("engine", "model"), [("simulation", "tiny"), ("grpc", "owner/model"), ("grpc", ".")]
)
def test_what_transformers_loads_is_read_from_the_adapter(
    tmp_path: Path, engine: str, model: str
) -> None:
    """A folder, or an id of the hub."""
    named = RunDescribed({"engine": engine, "model": model})

    usage = section(page_of(tmp_path, [*whole_run(), named], adapter=1), "Use the adapter")

    assert "base = PeftConfig.from_pretrained(adapter).base_model_name_or_path" in usage


def test_stopped_run(tmp_path: Path) -> None:
    """A run that was stopped says why in its first paragraph."""
    page = page_of(tmp_path, [*whole_run()[:6], RunStopped("the operator said so")])

    assert "**The run stopped early** (the operator said so)" in page


def test_run_that_its_policy_ended(tmp_path: Path) -> None:
    """A run that has spent its budget is complete, with the policy's reason in its first paragraph."""
    start = RunStarted("tiny", "0123", 9, 1, 1)
    spent = RunStopped(f"{BY_POLICY}: 1 MB are spent", by_policy=True)

    page = page_of(tmp_path, [start, *whole_run()[1:], spent])

    assert "The run is complete (stopped by policy: 1 MB are spent): 1 round ended" in page


def test_names_stay_in_their_cells(tmp_path: Path) -> None:
    """A client's name can neither break the tables nor bring HTML or formulas along."""
    page = page_of(tmp_path, whole_run("a|b\n<img src=x> $\\alpha$ 病院"))

    row = next(line for line in section(page, "Clients").splitlines() if "100" in line)
    assert row.startswith("| a\\|b &lt;img src=x> \\$\\\\alpha\\$ 病院 | 100 |")


def test_words_for_amounts() -> None:
    """Amounts have three digits and the unit that a person would choose."""
    assert [bytes_said(size) for size in (0, 999, 1000, 999_600, 41_300_000, None)] == [
        *("0 B", "999 B", "1 kB", "1 MB", "41.3 MB", "–")
    ]
    assert [duration(each) for each in (0.0, 0.35, 42.0, 210.0, 7560.0)] == [
        *("0 s", "350 ms", "42 s", "3.5 min", "2.1 h")
    ]
    assert [share(0.8234), times_less(10, 1234)] == ["82.3 %", "123 times less than"]
    assert [times_less(3, 2), times_less(0, 5)] == ["1.5 times more than", ""]


@given(st.integers(0, 10**18))
def test_bytes_are_short(size: int) -> None:
    """No number of bytes needs more than a few characters, and none is written with an exponent."""
    said = bytes_said(size)

    assert "e" not in said
    assert len(said) <= 12


def test_whose_updates_counted_less_is_said(tmp_path):
    """A client that was clipped stands on the page, with how often."""
    events = [
        replace(each, held_back=("north",)) if isinstance(each, RoundFolded) else each
        for each in whole_run()
    ]

    assert "by `protection`: `north` in 1 round." in page_of(tmp_path, events)
