"""Bytes of a client and round by seeds, both ways, in the paper's setting: K = 4,096 seeds, 200 steps.

    python -m benchmarks.seeds_bytes [--rounds 10] [--clients 16]

FedKSeed (arXiv 2312.06353) states 17,988 bytes: 4,096 scalars down, 200 scalars up, and the seeds. Here
the `tiny` model's linear weights move; what travels does not depend on the model. Counted are messages and
models as they are packed, in the round that moves most, for the client that moves most.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

from antiphon.core import config as configs
from antiphon.core.events import BytesMoved
from antiphon.core.journal import Journal
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

_TINY = Path(__file__).parent.parent / "examples" / "tiny.yaml"
_PAPER = 17_988


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=16)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overrides = (
            "method=seeds", "seeds.num_seeds=4096", "seeds.max_steps=200", "seeds.learning_rate=1e-4",
            "seeds.per_device_train_batch_size=1", "data.partition=iid", f"data.clients={given.clients}",
            "data.eval_examples=1", "evaluation.before_first_round=false", "output.plots=false",
            f"evaluation.every={given.rounds}", f"rounds={given.rounds}", f"output.runs_dir={folder}",
        )  # fmt: skip
        config = configs.load(_TINY, overrides)
        run = simulate(config, load_split(config))
        moved: defaultdict[tuple[int, str], dict[str, int]] = defaultdict(
            lambda: {"up": 0, "down": 0}
        )
        with Journal.reading(run.journal_file) as journal:
            for entry in journal.read(kinds=[BytesMoved]):
                if isinstance(entry.event, BytesMoved):
                    event = entry.event
                    moved[event.round, event.client][event.direction] += event.bytes
    last = given.rounds  # its clients also receive the model that is measured at the end
    worst = max(
        (each for key, each in moved.items() if key[0] < last), key=lambda each: sum(each.values())
    )
    both = worst["up"] + worst["down"]
    print("| Up | Down | Both ways | The paper's | Share |")
    print("|---|---|---|---|---|")
    print(f"| {worst['up']} | {worst['down']} | {both} | {_PAPER} | {both / _PAPER:.3f} |")


if __name__ == "__main__":
    main()
