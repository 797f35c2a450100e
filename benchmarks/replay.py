"""How long the replay of a journal takes: 400 clients and 40 rounds, 81,000 events.

    python -m benchmarks.replay [--clients 400] [--rounds 40] [--against CHECKOUT]

A process for each turn: it reads the journal and replays it through the round machine. `--against` takes
turns with another checkout of Antiphon, an older version, which has written the journal that both read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import machine, said

_TURNS = 5
_PARTS = ("core", "protos", "server", "strategies")
_WRITE = """
import sys
from pathlib import Path
from tests.dashboard.large_journal import Fleet, write
print(write(Path(sys.argv[1]), Fleet(int(sys.argv[2]), int(sys.argv[3]))))
"""
_REPLAY = """
import sys, time
from pathlib import Path
from antiphon.core.journal import Journal
try:
    from antiphon.server.machine import round
except ImportError:  # version 0.3
    from antiphon.server import round
start = time.perf_counter()
with Journal.reading(Path(sys.argv[1])) as journal:
    round.replay((entry.event, entry.at_s) for entry in journal.read())
print(time.perf_counter() - start)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--against", type=Path)
    given = parser.parse_args()
    here = Path(__file__).parent.parent
    checkouts = {"this version": here} | ({"the other": given.against} if given.against else {})
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.sqlite"
        size = (str(given.clients), str(given.rounds))
        events = told(given.against or here, _WRITE, str(journal), *size)
        taken: dict[str, list[float]] = {name: [] for name in checkouts}
        for _ in range(_TURNS):
            for name, checkout in checkouts.items():
                taken[name].append(float(told(checkout, _REPLAY, str(journal))))
    print(machine())
    print(f"{given.clients} clients, {given.rounds} rounds, {events} events")
    print("| what | median | against the first | spread |\n|---|---|---|---|")
    for name in taken:
        print(said(taken, name, "this version"))


def told(checkout: Path, script: str, *arguments: str) -> str:
    """Return what a script of a checkout prints."""
    found = os.pathsep.join(str(checkout / part) for part in _PARTS)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": found},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
