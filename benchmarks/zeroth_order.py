"""Zeroth order between frames from gradients: what is learned with as many examples passed forward.

    python -m benchmarks.zeroth_order [--settings plain frames small] [--seeds 7] [--rounds 10]

The task of examples/seeds.yaml, ten rounds in which each client passes 512 examples forward. `plain`:
between frames as they are; `frames`: between frames without their leading direction, whose modules count
by their gradients' lengths; `small`: the same in 64 steps of 4 examples instead of 16 of 16, with clipped
scalars. Bytes are of one client and round, without the exchange in which frames are found. With --work
DIR, runs that are finished there are taken as they are.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.bytes_to_quality import report_of

_CLIENTS = 4
_COMMON = (
    "method={space: core, trainer: spsa, form: scalars}",
    "lora={r: 4, lora_alpha: 4, target_modules: [q_proj, v_proj]}",
    "compression.downlink={kind: ecdq, bits: 4}",
    "seeds.directions.kind=gaussian",
    "seeds.epsilon=1e-2",
    "evaluation={every: 2, before_first_round: false}",
)
_UNLIKE = "frames={kind: gradient, rows: 4, skip: 1, weigh: true}"
SETTINGS = {
    "plain": ("frames={kind: gradient, rows: 4}", "seeds.learning_rate=5e-3"),
    "frames": (_UNLIKE, "seeds.learning_rate=4e-3"),
    "small": (
        _UNLIKE,
        "seeds.learning_rate=5e-3",
        "seeds.max_steps=64",
        "seeds.per_device_train_batch_size=4",
        "seeds.clip=1",
    ),
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        print("| Setting | Seed | Loss, accuracy after rounds | Bytes up, down |")
        print("|---|---|---|---|", flush=True)
        for setting in given.settings:
            for seed in given.seeds:
                print(_row(work, setting, seed, given.rounds, given.threads), flush=True)


def _row(work: Path, setting: str, seed: int, rounds: int, threads: int) -> str:
    report = report_of(
        work,
        f"zeroth-{setting}-{rounds}-{seed}",
        f"seed={seed}",
        f"rounds={rounds}",
        f"engine.threads={threads}",
        *_COMMON,
        *SETTINGS[setting],
        example="seeds.yaml",
    )
    measured = [each for each in report["rounds"] if each["loss"] is not None]
    losses = " · ".join(
        f"{each['round']}: {each['loss']:.3f}, {each['accuracy']:.3f}" for each in measured
    )
    # Sketches and frames travel in the first round, the model that is measured last in the last one.
    usual = report["rounds"][1:-1]
    up, down = (
        sum(each[way] for each in usual) / max(1, len(usual)) / _CLIENTS
        for way in ("bytes_up", "bytes_down")
    )
    return f"| {setting} | {seed} | {losses} | {up:.0f}, {down:.0f} |"


if __name__ == "__main__":
    main()
