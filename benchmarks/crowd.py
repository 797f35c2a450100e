"""Ten thousand simulated clients with a surrogate objective: seconds, memory and bytes of a whole run.

    python -m benchmarks.crowd [--clients 10000] [--cohort 500] [--rounds 100] [--evaluate-every 25]

The whole command in a process of its own, from reading the config to the report, on the shapes of the
`tiny` model (`fedsb`, 14 tensors of 8 × 8 numbers), with a drawn fleet of phones or without one. What one
task costs is beside it: the run's seconds by the updates that it folded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent.parent
_COMMAND = "from antiphon.cli.main import main; main()"


def run(folder: Path, *overrides: str) -> tuple[dict[str, Any], float, float]:
    """Return a run's report, its seconds, and the megabytes that its process held at the peak."""
    tiny = str(_ROOT / "examples" / "tiny.yaml")
    command = [sys.executable, "-c", _COMMAND, "simulate", "--json", tiny, *overrides]
    begun = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit((folder / "log").read_text(errors="replace")[-2000:])
    return json.loads(said.splitlines()[-1]), time.perf_counter() - begun, used.ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--cohort", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--evaluate-every", type=int, default=25)
    given = parser.parse_args()
    shared = (
        "method=fedsb", "engine.surrogate={}", "training.learning_rate=0.1",
        f"data.clients={given.clients}", f"cohort.size={given.cohort}",
        "cohort.scheduler=random", f"rounds={given.rounds}",
        f"evaluation.every={given.evaluate_every}", f"output.adapter_every={given.rounds}",
    )  # fmt: skip
    print(f"{given.clients} clients, {given.rounds} rounds of {given.cohort}\n")
    print("| Fleet | Seconds | Of these training | Memory | Updates | A second | Loss |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        for fleet in ("none", "phones"):
            drawn = (
                () if fleet == "none" else _with_fleet(folder, fleet, given.clients, given.cohort)
            )
            runs = (f"output.runs_dir={folder / fleet}", *drawn)
            report, seconds, memory = run(folder, *shared, *runs)
            updates = sum(len(each["accepted"]) for each in report["rounds"])
            print(
                f"| {fleet} | {seconds:.0f} | {report['seconds'].get('training', 0.0):.0f} "
                f"| {memory:.0f} MB | {updates} | {updates / seconds:.0f} "
                f"| {report['initial']['loss']:.3f} → {report['final']['loss']:.3f} |",
                flush=True,
            )


def _with_fleet(folder: Path, kind: str, clients: int, cohort: int) -> tuple[str, ...]:
    """Draw a fleet; a fifth of its clients fail, so that more are asked than are waited for."""
    file = folder / f"{kind}.yaml"
    arguments = ["fleet", "new", kind, "--clients", str(clients), "--seed", "1", str(file)]
    subprocess.run([sys.executable, "-c", _COMMAND, *arguments], check=True, capture_output=True)
    waits = ("cohort.over_selection=1.4", f"cohort.quorum={cohort // 2}", "cohort.deadline_s=120")
    return (f"engine.fleet={file}", *waits)


if __name__ == "__main__":
    main()
