"""How long the dashboard takes to draw a run of 200 clients and 100 rounds: 100,000 events.

    python -m benchmarks.dashboard [--clients 200] [--rounds 100]

The time is that of Streamlit's script for the page of the run: reading the journal, counting, and making
the charts. The libraries have been imported before, as in a server that has drawn any page.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest
from tests.dashboard.large_journal import Fleet, write

from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.reading import news_of
from antiphon.dashboard.shelf import Shelf
from benchmarks.timing import machine

APP = Path(__file__).parent.parent / "dashboard" / "antiphon" / "dashboard" / "app.py"
_TURNS = 5


def page_of(runs: Path, run: str) -> Any:
    """Return the page of a run, not drawn yet."""
    sys.argv = ["app.py", "--runs", str(runs), "--home", str(runs)]
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    app.query_params["run"] = run
    return app.switch_page("run_page.py")


def drawn(page: Any) -> None:
    """Draw a page. Raises RuntimeError where it shows an error."""
    page.run()
    if page.exception or page.error or not page.metric:
        raise RuntimeError(f"the page shows {[each.value for each in page.exception]}")


def taken(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds on the clock, and of the processor."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


def first_view(runs: Path, files: list[Path]) -> list[tuple[float, float]]:
    """Time the first view of several copies of one journal; drop the first, which warms up."""
    found = []
    for file in files:
        page = page_of(runs, file.parent.name)
        found.append(taken(lambda page=page: drawn(page)))
    return found[1:]


def read(file: Path) -> int:
    """Read a journal as the dashboard does; return how many entries it has."""
    with news_of(file) as news:
        return sum(1 for _ in news.entries)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        files = [runs / f"large-{turn}" / "journal.sqlite" for turn in range(_TURNS + 1)]
        events = write(files[0], Fleet(given.clients, given.rounds))
        for file in files[1:]:
            file.parent.mkdir()
            os.link(files[0], file)
        rows = {
            "first view of the run": first_view(runs, files),
            "the same page again": again(runs, files[0]),
            "of the first view: reading the journal": [
                taken(lambda: read(files[0])) for _ in range(_TURNS)
            ],
            "of the first view: reading, counting and curves": [
                taken(lambda: Shelf().view(RunFolder(files[0].parent))) for _ in range(_TURNS)
            ],
            "in comparison: Journal.read of every event": [
                taken(lambda: [0 for _ in Journal.reading(files[0]).read()]) for _ in range(_TURNS)
            ],
        }
    print(machine())
    print(f"{given.clients} clients, {given.rounds} rounds, {events} events")
    print("| what | median | processor |\n|---|---|---|")
    for name, times in rows.items():
        wall, busy = (statistics.median(each) for each in zip(*times, strict=True))
        print(f"| {name} | {wall:.2f} s | {busy:.2f} s |")


def again(runs: Path, file: Path) -> list[tuple[float, float]]:
    """Time a page whose journal has not grown."""
    page = page_of(runs, file.parent.name)
    drawn(page)
    return [taken(lambda: drawn(page)) for _ in range(_TURNS)]


if __name__ == "__main__":
    main()
