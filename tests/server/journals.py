"""Real journals of small runs, and the reports on them."""

from collections.abc import Iterable
from pathlib import Path

from antiphon.core.events import (
    BytesMoved,
    ClientJoined,
    Evaluated,
    Event,
    PhaseTimed,
    RoundEvaluated,
    RoundFolded,
    RoundPlanned,
    RunDescribed,
    RunStarted,
    UpdateReceived,
)
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.server.report.report import build
from antiphon.server.report.report_types import Report

JOINED: list[Event] = [
    RunStarted("quickstart", "0123", rounds=2, min_clients=2, max_failed_rounds=2),
    RunDescribed({"method": "lora", "trained_parameters": 1000, "model_parameters": 50_000}),
    ClientJoined("north", 100),
    ClientJoined("south", 300),
]
OPENING: list[Event] = [*JOINED, RoundEvaluated(0)]  # the untouched model is not measured


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
