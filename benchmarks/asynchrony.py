"""Simulated time to a target held-out loss: synchronous rounds, rounds with a deadline, asynchronous ones.

The fleet is 40 drawn phones: local steps of 1 to 10 s, lines of 1 to 10 Mbit/s up, on line half to nine
tenths of the time, and one assignment in five is lost. Every run has 20 clients at work and the same data,
model and local training; what differs is when a round closes. The times are virtual, so the machine does
not matter.

python -m benchmarks.asynchrony [SEEDS]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from antiphon.core.config import load
from antiphon.core.events import RoundEvaluated
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.fleet_file import fleet_text
from antiphon.simulation.fleets import generate
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

TINY = Path(__file__).parent.parent / "examples" / "tiny.yaml"
CLIENTS, TARGET = 40, 0.45
SCHEDULED = "scheduler: random, size: 20, min_clients: 10"
COHORTS: Mapping[str, tuple[int, str]] = {
    "synchronous, no deadline": (40, f"{{{SCHEDULED}, quorum: 5, deadline_s: 1e6}}"),
    "deadline, over-selection": (
        120,
        f"{{{SCHEDULED}, quorum: 3, deadline_s: 20, over_selection: 1.3}}",
    ),
    "asynchronous, buffer of 5": (
        200,
        f"{{{SCHEDULED}, quorum: 5, deadline_s: 1e6, asynchronous: {{buffer: 5, max_staleness: 20}}}}",
    ),
}
"""Rounds at most, and the cohort."""


class Reached(Exception):
    """The target is reached: nothing more needs to be simulated."""


class Stopwatch(Monitor):
    """Ends the run at the target."""

    def evaluated(self, number: int, metrics: Mapping[str, float]) -> None:
        """Look at the held-out loss."""
        if metrics["loss"] <= TARGET:
            raise Reached


def seconds_to_target(folder: Path, rounds: int, cohort: str, seed: int) -> float | None:
    """Run one way with one seed; return the virtual seconds to the target, none: it was not reached."""
    fleet = folder / f"phones-{seed}.yaml"
    fleet.write_text(fleet_text(generate("phones", CLIENTS, seed), ""))
    config = load(TINY, _overrides(folder, fleet, rounds, cohort, seed))
    made: list[RunFolder] = []
    try:
        simulate(
            config,
            load_split(config),
            monitor_for=lambda clients: nullcontext(Stopwatch()),
            on_folder=made.append,
        )
    except Reached:
        with Journal.reading(made[0].journal_file) as journal:
            return max(entry.at_s for entry in journal.read(kinds=[RoundEvaluated]))
    return None


def _overrides(folder: Path, fleet: Path, rounds: int, cohort: str, seed: int) -> Sequence[str]:
    return (
        f"seed={seed}",
        f"rounds={rounds}",
        f"cohort={cohort}",
        f"engine.fleet={fleet}",
        f"output.runs_dir={folder}",
        f"output.adapter_every={rounds}",
        "engine.threads=1",
        "data.partition=iid",
        f"data.clients={CLIENTS}",
        "data.eval_examples=5",
        "training.max_steps=4",
        "training.learning_rate=2e-3",
    )


def main() -> None:
    """Print the table."""
    seeds = range(1, 1 + int(sys.argv[1] if len(sys.argv) > 1 else "3"))
    reference = next(iter(COHORTS))
    taken: dict[str, list[float]] = {name: [] for name in COHORTS}
    for seed in seeds:
        for name, (rounds, cohort) in COHORTS.items():
            with TemporaryDirectory() as folder:
                seconds = seconds_to_target(Path(folder), rounds, cohort, seed)
            print(f"seed {seed}, {name}: {seconds}", file=sys.stderr)
            taken[name].append(float("inf") if seconds is None else seconds)
    print(f"Virtual seconds to a held-out loss of {TARGET}, {len(seeds)} seeds\n")
    print("| rounds | median | by seed | faster than synchronous, median | by seed |")
    print("|---|---|---|---|---|")
    for name, times in taken.items():
        ratios = [a / b for a, b in zip(taken[reference], times, strict=True)]
        each, faster = (", ".join(f"{v:.{d}f}" for v in of) for of, d in ((times, 0), (ratios, 1)))
        print(
            f"| {name} | {statistics.median(times):.0f} s | {each} | "
            f"{statistics.median(ratios):.1f} × | {faster} |"
        )


if __name__ == "__main__":
    main()
