"""Simulated time to a held-out loss: a policy beside every fixed setting of a grid, chosen in hindsight.

    python -m benchmarks.time_to_loss [--seeds 1] [--fleets hospitals phones robots campus] [--grid]

Forty clients of each drawn fleet, twenty at work in a round, of which five must deliver; a surrogate stands
for the model (`ffa` on the shapes of `tiny`, see simulation/surrogate.py), so that a run takes seconds.
What the grid varies is what a user may fix: the local steps, the deadline, how many more are asked than are
waited for, whether the cohort's work is balanced, the codec, and rounds that do not wait for their cohorts.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from antiphon.core.config import load
from antiphon.core.errors import UserError
from antiphon.core.events import RoundEvaluated
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.fleet_file import fleet_text
from antiphon.simulation.fleets import KINDS, generate
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

_TINY = Path(__file__).parent.parent / "examples" / "tiny.yaml"
_CLIENTS, _TARGET, _ROUNDS = 40, 0.08, 100
_SHARED: Final = (
    "method=ffa", "engine.surrogate={}", "training.learning_rate=0.1", f"data.clients={_CLIENTS}",
    f"rounds={_ROUNDS}", f"output.adapter_every={_ROUNDS}", "output.plots=false", "lora.r=32",
)  # fmt: skip


_COHORT: Final = (
    "cohort.scheduler=random", "cohort.size=20", "cohort.min_clients=10", "cohort.quorum=5",
)  # fmt: skip
_ASYNCHRONOUS: Final = "cohort.asynchronous={buffer: 5, max_staleness: 20}"
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "untouched config": (),
    "fixed": _COHORT,
    "swift": (*_COHORT, "policy={kind: swift}"),
    "swift, asynchronous": (*_COHORT, "policy={kind: swift}", _ASYNCHRONOUS),
}


@dataclass(frozen=True)
class Trial:
    """One run. overrides: of the config; seconds: virtual ones to the target, none: not reached."""

    fleet: str
    seed: int
    overrides: tuple[str, ...]


class _Reached(Exception):
    """The target is reached: nothing more needs to be simulated."""


class _Watch(Monitor):
    """Ends the run at the target."""

    def evaluated(self, number: int, metrics: Mapping[str, float]) -> None:
        """Look at the held-out loss."""
        if metrics["loss"] <= _TARGET:
            raise _Reached


def seconds_of(trial: Trial) -> float:
    """Run it; return the virtual seconds to the target, or infinity."""
    with TemporaryDirectory() as where:
        folder = Path(where)
        fleet = folder / "fleet.yaml"
        fleet.write_text(fleet_text(generate(trial.fleet, _CLIENTS, trial.seed), ""))
        given = (f"engine.fleet={fleet}", f"output.runs_dir={folder}", f"seed={trial.seed}")
        config = load(_TINY, (*_SHARED, *given, *trial.overrides))
        made: list[RunFolder] = []
        try:
            simulate(
                config,
                load_split(config),
                monitor_for=lambda clients: nullcontext(_Watch()),
                on_folder=made.append,
            )
        except _Reached:
            with Journal.reading(made[0].journal_file) as journal:
                return max(entry.at_s for entry in journal.read(kinds=[RoundEvaluated]))
        except UserError as error:
            print(f"{trial}: {error}", file=sys.stderr)
    return float("inf")


def grid() -> Iterator[tuple[str, ...]]:
    """Yield the fixed settings."""
    codecs = ((), ("compression.uplink={kind: ecdq, bits: 2}",))
    waits = [(f"cohort.deadline_s={each}",) for each in (8, 40, 3600)]
    waits.append(("cohort.over_selection=1.5",))
    closes = [(*wait, f"cohort.work={work}") for wait in waits for work in ("equal", "balanced")]
    closes += [(f"cohort.asynchronous={{buffer: {each}, max_staleness: 20}}",) for each in (5, 10)]
    for steps, codec, close in itertools.product((3, 10), codecs, closes):
        if not codec or "asynchronous" in close[0]:
            yield (*_COHORT, f"training.max_steps={steps}", *codec, *close)


def main() -> None:
    """Print what each takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    parser.add_argument("--fleets", nargs="*", default=sorted(KINDS))
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--own", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    settings = dict(_OWN) if given.own else {}
    if given.grid:
        settings |= {" ".join(each[len(_COHORT) :]): each for each in grid()}
    with ProcessPoolExecutor(1) as pool:
        for fleet, seed in itertools.product(given.fleets, given.seeds):
            trials = [Trial(fleet, seed, each) for each in settings.values()]
            taken = dict(zip(settings, pool.map(seconds_of, trials), strict=True))
            for name, seconds in sorted(taken.items(), key=lambda each: each[1]):
                print(f"{fleet}\t{seed}\t{seconds:.1f}\t{name}", flush=True)


if __name__ == "__main__":
    main()
