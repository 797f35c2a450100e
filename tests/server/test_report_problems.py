"""What a report says of what went wrong: rounds that came to nothing, updates that did not count."""

import math
from dataclasses import replace
from pathlib import Path

from tests.server.journals import (
    JOINED,
    OPENING,
    evaluated,
    planned,
    report_of,
    update,
    whats,
    whole_round,
)

from antiphon.core.events import (
    ClientFailed,
    ClientJoined,
    ClientLeft,
    Event,
    RoundUndone,
    RunStopped,
    UpdateRejected,
)
from antiphon.core.journal import Entry
from antiphon.server.report.report import build


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

    report = report_of(tmp_path, *JOINED, *evaluated(0, 1.0, 1.0), *whole_round(1), *second)

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

    report = build([*entries, Entry(9, 9.0, late[0]), Entry(10, 65.5, late[1])])

    assert report["rounds"][0]["late"] == ["south"]
    assert whats(report) == [(1, "south", "unfinished"), (1, "south", "late")]


def test_one_too_many(tmp_path: Path) -> None:
    """Who was called off because the others were enough has done nothing wrong."""
    report = report_of(tmp_path, *OPENING, replace(planned(1), quorum=1, enough=1), update("north"))

    assert report["rounds"][0]["accepted"] == ["north"]
    assert whats(report) == []


def test_too_stale_to_go_on(tmp_path: Path) -> None:
    """Who is called off in an asynchronous round hears why, and it is not the quorum."""
    plan = replace(planned(1), quorum=1, enough=1, max_staleness=0)

    report = report_of(tmp_path, *OPENING, plan, update("north"))

    [each] = report["problems"]
    assert (each["client"], each["what"]) == ("south", "unfinished")
    assert "too stale" in each["reason"]


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


def test_client_leaves_between_two_rounds(tmp_path: Path) -> None:
    """Whoever leaves after its update, orderly or not, has left the run, with its reason."""
    gone = ClientLeft("south", "its hours are over")

    report = report_of(tmp_path, *OPENING, *whole_round(1), gone)

    assert whats(report) == [(1, "south", "left")]
    assert report["problems"][0]["reason"] == "its hours are over"


def test_leaving_twice_is_told_once(tmp_path: Path) -> None:
    """The lease of a client that has left already may run out too."""
    gone = [ClientLeft("south", "a break"), ClientLeft("south", "its lease ran out")]

    report = report_of(tmp_path, *OPENING, planned(1), *gone)

    assert [each["reason"] for each in report["problems"]] == ["a break"]


def test_leaving_after_the_end(tmp_path: Path) -> None:
    """When all rounds are over everybody may go: nothing went wrong."""
    report = report_of(tmp_path, *OPENING, *whole_round(1), *whole_round(2), ClientLeft("south"))

    assert report["problems"] == []


def test_stopped_run(tmp_path: Path) -> None:
    """A stopped run says why, and so does the round that it cut off."""
    report = report_of(tmp_path, *OPENING, planned(1), RunStopped("the operator said so"))

    assert (report["complete"], report["reason"]) == (False, "the operator said so")
    assert report["rounds"][0]["outcome"] == "stopped"


def test_diverged_losses(tmp_path: Path) -> None:
    """A loss that is no number makes the mean null, and is said to be a problem."""
    report = report_of(tmp_path, *JOINED, *evaluated(0, math.nan, 2.0))

    assert report["initial"] is not None
    assert report["initial"]["loss"] is None
    assert report["initial"]["per_client"]["south"]["loss"] == 2.0
    assert whats(report) == [(0, "north", "diverged")]
