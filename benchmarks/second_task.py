"""All bytes, both ways, until the held-out loss of dense float32 LoRA, on a task that is generated.

    python -m benchmarks.second_task [--seeds 7] [--rounds 10] [--rows ROWS.jsonl] [--work DIR]

Four clients, each with the questions of one generator of reasoning-gym (benchmarks/reasoning_rows.py):
sums, counted letters, continued sequences of numbers, family relations. The answers are generated text, so
that what is learned is told by the loss over an answer's tokens and by exact match. For each seed:
`_DENSE_ROUNDS` rounds of examples/lora.yaml, float32 both ways, and `rounds` rounds of
examples/quickstart.yaml, with the task and the steps of `_TASK` in place of their own. Bytes are counted as
benchmarks/frames.py does: everything until the first measured round whose held-out loss is not above the
dense run's last one; of the dense run what trains alone, without the models that are only measured.

Without --rows a virtual environment is made for reasoning-gym, which takes an index of packages. With
--work DIR, rows and runs that are there are taken as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bytes_to_quality import report_of
from benchmarks.frames import first_round, moved

_LIBRARY = "reasoning-gym==0.1.25"
_ROWS_SHA256 = "0fdf49710cf10ae6190b7e1e5afa6d52daee618862fa04ead16e125fc5d4c653"
_DENSE_ROUNDS = 6
_TASK = (
    "data.filter={}",
    "data.partition={kind: field, field: task}",
    "data.format=prompt_completion",
    "data.eval_examples=64",
    "model.max_length=64",
    "training.per_device_train_batch_size=8",
    "evaluation.every=2",
    "output.plots=false",
)


def make_rows(work: Path) -> Path:
    """Return the task's rows, made in `work` unless they are there. Raises ValueError for other rows."""
    rows = work / "rows.jsonl"
    if not rows.exists():
        home = work / "reasoning-gym"
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        python = str(home / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", _LIBRARY], check=True)
        script = Path(__file__).with_name("reasoning_rows.py")
        subprocess.run([python, str(script), str(rows)], check=True)
    return rows


def check_rows(rows: Path) -> None:
    """Raise ValueError where rows are not those of the published figures."""
    found = hashlib.sha256(rows.read_bytes()).hexdigest()
    if found != _ROWS_SHA256:
        raise ValueError(
            f"{rows} has SHA-256 {found}, expected {_ROWS_SHA256}: make it anew with {_LIBRARY}"
        )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        rows = given.rows or make_rows(work)
        check_rows(rows)
        print("| Seed | Run | Round | Loss | Exact match | All bytes until then | Fewer |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for seed in given.seeds:
            _compare(work, (f"seed={seed}", f"data.dataset={rows}", *_TASK), seed, given.rounds)


def _compare(work: Path, task: tuple[str, ...], seed: int, rounds: int) -> None:
    dense = report_of(work, f"dense-{seed}", *task, f"rounds={_DENSE_ROUNDS}")
    loss, cost = dense["final"]["loss"], dense["bytes"]["training"]
    print(f"| {seed} | untouched | 0 | {_scores(dense['initial'])} | | |", flush=True)
    print(f"| {seed} | lora | {_DENSE_ROUNDS} | {_scores(dense['final'])} | {cost} | |", flush=True)
    name = f"frames-{rounds}-{seed}"
    packed = report_of(work, name, *task, f"rounds={rounds}", example="quickstart.yaml")
    reached = first_round(packed, loss)
    if reached is not None:
        took = moved(packed, reached)
        each = _evaluation(packed["rounds"][reached - 1])
        print(f"| {seed} | frames | {reached} | {_scores(each)} | {took} | {cost / took:.0f} × |")
    last = moved(packed, rounds)
    print(f"| {seed} | frames | {rounds} | {_scores(packed['final'])} | {last} | |", flush=True)


def _scores(means: dict[str, Any]) -> str:
    return f"{means['loss']:.4f} | {means['exact_match']:.3f}"


def _evaluation(number: dict[str, Any]) -> dict[str, float]:
    """Return a round's loss and exact match, means over the clients."""
    clients = number["per_client"].values()
    return {
        score: sum(each[score] for each in clients) / len(clients)
        for score in ("loss", "exact_match")
    }


if __name__ == "__main__":
    main()
