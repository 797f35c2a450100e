"""Peak memory of a seeds client against inference of the same batch, each in a process of its own.

    python -m benchmarks.seeds_memory

Both load SmolLM2-135M in float32 and run on a batch of 8 × 48 tokens; the client takes 12 low-rank steps
through the whole method (weights on file, probe, moves). Peak resident memory as the kernel counts it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.timing import machine

LOAD = """
import resource, torch
from antiphon.client.language_model import load, token_losses
from antiphon.core.section import Choice
from benchmarks.seeds_step import batch_of
model = load("smollm2-135m", device="cpu", base=Choice(kind="float32"))
batch = batch_of(model)
"""
SAY = "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
INFERENCE = """
with torch.no_grad():
    for _ in range(3):
        token_losses(model, batch)
"""
FULL_LOGITS = """
with torch.no_grad():
    for _ in range(3):
        model.network(batch.input_ids, use_cache=False).logits
"""
CLIENT = """
import numpy as np
from antiphon.client.adapter import linear_modules
from antiphon.client.spaces.span import SpanSpace
from antiphon.client.zeroth_order.dense import DenseProbe
from antiphon.client.zeroth_order.lowrank import LowRankProbe
from antiphon.client.trainers.spsa import SeedTraining, train
from antiphon.core.run_sections import SeedsConfig
from antiphon.core.coefficients import SeedCoefficients, as_package
from antiphon.strategies.seed_space import Directions
seeds = SeedsConfig(directions={directions})
linears = linear_modules(model.network)
space = SpanSpace(linears, 4096, Directions(seeds.directions.kind, 1, key=5))
index = np.arange(1000, dtype=np.uint32)
sent = SeedCoefficients(4096, index, np.full(1000, 1e-7, dtype=np.float32))
space.load(as_package("span", sent))
plan = SeedTraining(np.arange(12, dtype=np.uint32), 1e-3, 1e-9, 1e3)
kind = seeds.directions.kind
dense = kind != "lowrank"
probe = DenseProbe(linears, kind=kind, key=5) if dense else LowRankProbe(linears, rank=1, key=5)
train(model, probe, [batch] * 12, plan, lambda done, loss: None)
probe.close()
space.close()
"""


def peak(body: str) -> int:
    """Return the peak resident bytes of a process that runs `body`."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD + body + SAY],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    return int(done.stdout.split()[-1])


def main() -> None:
    """Print the table."""
    inference = peak(INFERENCE)
    rows = {
        "inference, logits at the labels": inference,
        "inference, all logits": peak(FULL_LOGITS),
        "seeds client, low-rank": peak(CLIENT.replace("{directions}", "{'kind': 'lowrank'}")),
        "seeds client, Rademacher": peak(
            CLIENT.replace("{directions}", "{'kind': 'rademacher'}")
            .replace("arange(1000", "arange(4")
            .replace("full(1000", "full(4")
        ),
    }
    print(machine())
    print("| process | peak memory | to inference |\n|---|---|---|")
    for name, size in rows.items():
        print(f"| {name} | {size / 1e6:.0f} MB | {size / inference:.3f} × |")


if __name__ == "__main__":
    main()
