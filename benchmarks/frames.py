"""All bytes, both ways, until the held-out loss of dense float32 LoRA: frames from gradients beside it.

    python -m benchmarks.frames [--seeds 7 8 9] [--rounds 6] [--dense LOSS ...]

For each seed: five rounds of examples/lora.yaml, float32 both ways, and `rounds` rounds of
examples/quickstart.yaml, the same task and steps. Counted is everything that the simulation
counts (questions, sketches, frames, assignments, models, updates) until the first round whose held-out
loss is not above the dense run's last one, and the model once more for each client that measures it then.
With --work DIR, runs that are finished there are taken as they are; with --dense, the dense runs' last
losses are given, one for each seed, and they are not run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bytes_to_quality import report_of

_DENSE_ROUNDS = 5
_DENSE_BYTES = 74_354_760
"""Both ways, of the dense run's five rounds: for those whose losses are given."""


def moved(report: dict[str, Any], rounds: int) -> int:
    """Return all bytes of the first so many rounds, and of the models that are measured after the last."""
    first = report["rounds"][:rounds]
    whole = sum(each["bytes_up"] + each["bytes_down"] for each in first)
    if rounds == len(report["rounds"]):
        return whole  # a run's last round counts the model that is measured after it
    return int(whole + min(each["bytes_down"] for each in first))


def first_round(report: dict[str, Any], loss: float) -> int | None:
    """Return the first round whose held-out loss is at most `loss`."""
    reached = (each["round"] for each in report["rounds"] if (each["loss"] or 1e9) <= loss)
    return next(reached, None)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--dense", type=float, nargs="+")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        print("| Seed | Dense loss | Bytes | Frames: round, loss, accuracy | Bytes | Fewer |")
        print("|---|---|---|---|---|---|", flush=True)
        for at, seed in enumerate(given.seeds):
            loss, dense_bytes = _dense(work, seed, given.dense[at] if given.dense else None)
            name = f"frames-{given.rounds}-{seed}"
            report = report_of(
                work, name, f"seed={seed}", f"rounds={given.rounds}", example="quickstart.yaml"
            )
            number = first_round(report, loss)
            each = report["rounds"][(number or given.rounds) - 1]
            took = moved(report, number or given.rounds)
            said = "" if number else "not reached: "
            print(
                f"| {seed} | {loss:.4f} | {dense_bytes} | {said}{each['round']}, {each['loss']:.4f}, "
                f"{each['accuracy']:.4f} | {took} | {dense_bytes / took:.0f} × |",
                flush=True,
            )


def _dense(work: Path, seed: int, loss: float | None) -> tuple[float, int]:
    if loss is not None:
        return loss, _DENSE_BYTES
    report = report_of(work, f"dense-{seed}", f"seed={seed}", f"rounds={_DENSE_ROUNDS}")
    return report["final"]["loss"], moved(report, _DENSE_ROUNDS)


if __name__ == "__main__":
    main()
