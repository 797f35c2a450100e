"""Kill -9, hundreds of times: is anything lost that was acknowledged, does anything count twice?

    python -m benchmarks.nemesis [--kills 200] [--seed 1] [--method lora]

Runs of three daemons and their coordinator, real processes on loopback, follow each other until as many
have been killed: half of them at a named step, half at any moment; in every third run they stay away for
longer than their lease. Each run is compared with one that nobody disturbed. Exit status 1 on violations.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.network.nemesis import COORDINATOR, Death, History, Nemesis, judged, random_schedule

from antiphon.core.run_folder import RunFolder

_ROUNDS = 16
_DEATHS = 20  # of a run, if it lasts as long
_LIMIT_S = 300.0


def runs(
    folder: Path, methods: list[str], kills: int, seed: int
) -> Iterator[tuple[str, History, RunFolder]]:
    """Run until there were as many kills; yield each run with its method and the undisturbed one."""
    rng, done, number = Random(seed), 0, 0
    undisturbed = {
        method: Nemesis(folder / method, method, _ROUNDS).run(_LIMIT_S).folder for method in methods
    }
    while done < kills:
        method = methods[number % len(methods)]
        lease_s, away_s = (3.0, 6.0) if number % 3 == 2 else (60.0, 3.0)
        schedule = random_schedule(rng, method, _DEATHS, away_s)
        run = Nemesis(folder / f"{number}", method, _ROUNDS, schedule, lease_s=lease_s)
        history = run.run(_LIMIT_S)
        yield method, history, undisturbed[method]
        done, number = done + len(history.deaths), number + 1


def table(deaths: list[Death]) -> Iterator[str]:
    """Yield the lines of a table of who was killed where."""
    yield "| Killed at | Coordinator | Daemons |"
    yield "|---|---|---|"
    counts = Counter((death.where, death.process == COORDINATOR) for death in deaths)
    for where in sorted({where for where, _ in counts}):
        yield f"| {where} | {counts[where, True]} | {counts[where, False]} |"
    coordinators = sum(death.process == COORDINATOR for death in deaths)
    yield f"| all | {coordinators} | {len(deaths) - coordinators} |"


def main() -> None:
    """Print what happened, run by run, and a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--method", choices=("lora", "seeds"), action="append")
    given = parser.parse_args()
    deaths: list[Death] = []
    wrong: list[str] = []
    told, seconds = Counter[str](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        methods = given.method or ["lora", "seeds"]
        for method, history, undisturbed in runs(Path(folder), methods, given.kills, given.seed):
            deaths += history.deaths
            wrong += judged(history, undisturbed)
            told.update(answer.verdict for answer in history.told)
            seconds += history.seconds
            print(f"{method}: {len(history.deaths)} kills, {history.seconds:.0f} s", flush=True)
            for problem in judged(history, undisturbed):
                print(f"  {problem}", flush=True)
    print(*table(deaths), sep="\n")
    print(f"answers: {dict(told)}; {len(wrong)} violations in {seconds:.0f} s of runs")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
