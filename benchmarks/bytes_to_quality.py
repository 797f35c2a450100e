"""Bytes up until the held-out loss of dense float32 deltas is reached, with a codec and error feedback.

    python -m benchmarks.bytes_to_quality [--seeds 7 8 9] [--bits 0.34] [--rounds 9] [--decay 0.75]

The task and steps of examples/lora.yaml. For each seed: a run that sends float32 deltas, and one that sends
ECDQ at `bits` per parameter for `rounds` rounds, with residuals that fade by `decay` each round. Both count
what they sent until the first round whose held-out loss is not above the dense run's last one. With --work
DIR, runs that are finished there are taken as they are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from antiphon.core import config as configs
from antiphon.core.run_folder import find_newest
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

_ROOT = Path(__file__).parent.parent
_DENSE_ROUNDS = 5


def report_of(work: Path, name: str, *overrides: str, example: str = "lora.yaml") -> dict[str, Any]:
    """Run an example with overrides unless it is there already; return its report."""
    found = find_newest(work, name)
    if found is None or not found.report_json.exists():
        given = (f"name={name}", f"output.runs_dir={work}", *overrides)
        config = configs.load(_ROOT / "examples" / example, given)
        found = simulate(config, load_split(config))
    report: dict[str, Any] = json.loads(found.report_json.read_text())
    return report


def bytes_until(report: dict[str, Any], loss: float) -> tuple[int, int] | None:
    """Return the first round whose held-out loss is at most `loss`, and the bytes up until then."""
    sent = 0
    for each in report["rounds"]:
        sent += each["bytes_up"]
        if each["loss"] is not None and each["loss"] <= loss:
            return each["round"], sent
    return None


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--bits", type=float, default=0.34)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--decay", type=float, default=0.75)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        print(
            "| Seed | Dense loss, accuracy | Dense bytes up | ECDQ: round, loss | Bytes up | Fewer |"
        )
        print("|---|---|---|---|---|---|", flush=True)
        for seed in given.seeds:
            dense = report_of(work, f"dense-{seed}", f"seed={seed}", f"rounds={_DENSE_ROUNDS}")
            loss, accuracy = dense["final"]["loss"], dense["final"]["accuracy"]
            uplink = f"compression.uplink={{kind: ecdq, bits: {given.bits}}}"
            fading = f"compression.residual_decay={given.decay}"
            name = f"ecdq-{given.bits}-{given.rounds}-{given.decay}-{seed}"
            packed = report_of(work, name, f"seed={seed}", f"rounds={given.rounds}", uplink, fading)
            reached = bytes_until(packed, loss)
            sent = dense["bytes"]["up"]
            if reached is None:
                best = min(each["loss"] for each in packed["rounds"])
                row = f"not reached: {best:.4f} at best | {packed['bytes']['up']} | |"
            else:
                number, up = reached
                row = f"{number}, {packed['rounds'][number - 1]['loss']:.4f} | {up} | {sent / up:.0f} × |"
            print(f"| {seed} | {loss:.4f}, {accuracy:.3f} | {sent} | {row}", flush=True)


if __name__ == "__main__":
    main()
