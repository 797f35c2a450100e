"""The pictures of a report: what is drawn, what it says, and that odd runs do no harm."""

import math
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.events import (
    BytesMoved,
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
    UpdateReceived,
)
from antiphon.core.journal import Entry
from antiphon.server.report.plots import _spread, draw
from antiphon.server.report.report import build

pytestmark = pytest.mark.slow


def run_of(clients: Iterable[str], rounds: int = 2, loss: float = 1.0) -> list[Event]:
    """Return a run whose loss halves every round."""
    names = tuple(clients)
    events: list[Event] = [RunStarted("any", "0", rounds, 1, 1)]
    events += [RunDescribed({"trained_parameters": 1000})]
    events += [ClientJoined(name, 10) for name in names]
    events += [Evaluated(0, name, 10, loss=loss, accuracy=0.5) for name in names]
    events.append(RoundEvaluated(0, {"loss": loss}))
    for number in range(1, rounds + 1):
        events.append(RoundPlanned(number, names, 1, math.inf))
        for name in names:
            events.append(BytesMoved(number, name, "up", "update", 500))
            events.append(UpdateReceived(name, number, f"{name}{number}", 500, 10, 1))
        events += [PhaseTimed(number, "training", 9.0), PhaseTimed(number, "fold", 1.0)]
        events.append(RoundFolded(number, ""))
        events += [Evaluated(number, each, 10, loss / 2**number, 0.75) for each in names]
        events.append(RoundEvaluated(number, {"loss": 0.0}))
    return events


def drawn(path: Path, events: Iterable[Event]) -> dict[str, str]:
    """Draw the report of these events and return the titles."""
    entries = [Entry(seq, float(seq), event) for seq, event in enumerate(events, 1)]
    return draw(build(entries), path)


def test_titles_say_the_finding(tmp_path: Path) -> None:
    """A reader of the titles alone learns what happened."""
    titles = drawn(tmp_path, run_of(["north", "south"]))

    assert titles == {
        "learning.svg": "Loss fell from 1 to 0.25. Accuracy rose from 50 % to 75 %",
        "bytes.svg": "The run moved 2 kB, 16 times less than dense float32",
        "time.svg": "Training takes 90 % of the 20 s that the rounds took",
    }


def test_waiting_is_part_of_the_rounds(tmp_path: Path) -> None:
    """Where no phase tells of the training, the rounds' time is that of waiting for the clients."""
    events = [
        PhaseTimed(each.round, "fold", 1.0) if isinstance(each, PhaseTimed) else each
        for each in run_of(["north"], rounds=1)
    ]

    titles = drawn(tmp_path, events)

    assert titles["time.svg"] == "Waiting for clients takes 71.4 % of the 7 s that the rounds took"


def test_other_clients_at_the_end(tmp_path: Path) -> None:
    """The title compares the clients that were measured both times, and says so."""
    run = run_of(["north"])
    hard = Evaluated(0, "south", 10, 9.0, 0.0)

    title = drawn(tmp_path, [*run[:3], hard, *run[3:]])["learning.svg"]

    whose = "(clients: the 1 measured both times, of 2 before and 1 after)"
    assert f"Loss fell from 1 to 0.25 {whose}" in title


def test_pictures_are_svg(tmp_path: Path) -> None:
    """Each picture is well-formed SVG whose text is text."""
    for name in drawn(tmp_path, run_of(["north", "south"])):
        text = "".join(ElementTree.parse(tmp_path / name).getroot().itertext())
        assert "north" in text or name == "time.svg"


def test_same_report_same_bytes(tmp_path: Path) -> None:
    """Drawing a report again changes no byte."""
    for folder in ("a", "b"):
        drawn(tmp_path / folder, run_of(["north"]))

    for name in ("learning.svg", "bytes.svg", "time.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nothing_to_draw(tmp_path: Path) -> None:
    """An empty journal gives no picture."""
    assert drawn(tmp_path, []) == {}


def test_undone_round_is_marked(tmp_path: Path) -> None:
    """An undone round is marked, and its numbers do not make the title."""
    events = run_of(["north"], rounds=2)[:-2]
    exploded: list[Event] = [Evaluated(2, "north", 10, 80.0, 0.0), RoundUndone(2, "exploded")]

    titles = drawn(tmp_path, [*events, *exploded])

    assert titles["learning.svg"] == "Loss fell from 1 to 0.5. Accuracy rose from 50 % to 75 %"
    assert "undone" in (tmp_path / "learning.svg").read_text()


def test_loss_that_is_no_number(tmp_path: Path) -> None:
    """Where no loss is a number the accuracy is drawn alone."""
    titles = drawn(tmp_path, run_of(["north"], loss=math.nan))

    assert titles["learning.svg"] == "Accuracy rose from 50 % to 75 %"


def test_odd_names(tmp_path: Path) -> None:
    """A name in any script, or with formula signs, is drawn as it is."""
    names = ["病院", "$x", "<b>", "a" * 100]

    drawn(tmp_path, run_of(names))

    text = (tmp_path / "bytes.svg").read_text()
    assert "病院" in text
    assert "&lt;b&gt;" in text
    assert "a" * 19 + "…" in text


def test_many_clients(tmp_path: Path) -> None:
    """Of 200 clients, those that moved most have a row, and the picture says so."""
    drawn(tmp_path, run_of([f"client-{number}" for number in range(200)]))

    assert "24 of 200 clients" in (tmp_path / "bytes.svg").read_text()


def test_many_phases(tmp_path: Path) -> None:
    """More phases than colours are added up."""
    timed = [PhaseTimed(1, f"phase-{number}", 1.0) for number in range(12)]

    drawn(tmp_path, [*run_of(["north"], rounds=1), *timed])

    assert "other phases" in (tmp_path / "time.svg").read_text()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7).map(sorted))
def test_labels_do_not_overlap(values: list[float]) -> None:
    """Labels keep their order and their distance, and stay below the axis's end."""
    places = _spread(values, 0.0, 1.0, 0.05)

    assert max(places) <= 1.0
    assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(places))


def test_matplotlib_is_imported_late() -> None:
    """Importing what can draw imports no matplotlib: a coordinator starts fast, and so does a check."""
    drawing = (
        "antiphon.server.report.plots, antiphon.server.report.report, antiphon.simulation.split"
    )
    script = f"import sys, {drawing}; print('matplotlib' in sys.modules)"

    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert said.stdout.strip() == "False"
