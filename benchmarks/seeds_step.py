"""A zeroth-order step of each kind of direction against the two forward passes that it cannot avoid.

    python -m benchmarks.seeds_step

SmolLM2-135M, batch 8 × 48 tokens, one label token per row, all linear weights (106 M) move. A step draws
its direction, takes both losses and moves the weights. The last lines time the parts of a dense step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from antiphon.client import directions
from antiphon.client.adapter import linear_modules
from antiphon.client.data.tokens import Batch
from antiphon.client.language_model import LanguageModel, load, token_losses
from antiphon.client.trainers.spsa import two_sided_losses
from antiphon.client.zeroth_order.dense import DenseProbe
from antiphon.client.zeroth_order.lowrank import LowRankProbe
from antiphon.client.zeroth_order.probe import Probe
from antiphon.core.section import Choice
from benchmarks.timing import in_turns, machine, said

ROWS, TOKENS, TURNS = 8, 48, 3
EPSILON, KEY = 1e-3, 5


def batch_of(model: LanguageModel) -> Batch:
    """Return a batch of random tokens whose last token is the label."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, model.network.config.vocab_size - 1, (ROWS, TOKENS), generator=generator)
    labels = torch.full_like(ids, -100)
    labels[:, -1] = ids[:, -1]
    return Batch(ids, torch.ones_like(ids), labels)


def step(
    model: LanguageModel, batch: Batch, make: Callable[[], Probe], seeds: itertools.count[int]
) -> None:
    """Eight steps with a fresh probe: low-rank moves are folded in once in that time."""
    probe = make()
    for _ in range(8):
        seed = next(seeds)
        two_sided_losses(model, probe, batch, seed, EPSILON)
        probe.move(seed, 0.0)
    probe.settle()
    probe.close()


@torch.no_grad()
def main() -> None:
    """Print the table."""
    model = load("smollm2-135m", device="cpu", base=Choice(kind="float32"))
    batch, linears, seeds = batch_of(model), linear_modules(model.network), itertools.count()

    def forward_twice() -> None:
        for _ in range(16):
            token_losses(model, batch)

    def dense(kind: str) -> Callable[[], None]:
        return lambda: step(model, batch, lambda: DenseProbe(linears, kind=kind, key=KEY), seeds)

    def low_rank(rank: int) -> Callable[[], None]:
        return lambda: step(model, batch, lambda: LowRankProbe(linears, rank=rank, key=KEY), seeds)

    reference = "two forward passes, 8 times"
    actions = {
        reference: forward_twice,
        "low-rank, rank 1": low_rank(1),
        "low-rank, rank 4": low_rank(4),
        "Rademacher": dense("rademacher"),
        "Gaussian": dense("gaussian"),
    }
    taken = in_turns(actions, TURNS)
    print(machine())
    print("| 8 steps | median | to the reference | spread |\n|---|---|---|---|")
    for name in actions:
        print(said(taken, name, reference))
    _print_parts(linears)


def _print_parts(linears: dict[str, torch.nn.Linear]) -> None:
    cpu = torch.device("cpu")
    weights = [(name, linear.weight) for name, linear in linears.items()]
    words = directions.words(KEY, 1, "w", 0, 6912, cpu)
    scratch = torch.empty_like(weights[-1][1])

    def over_all(action: Callable[[str, torch.Tensor], object]) -> Callable[[], None]:
        def run() -> None:
            for name, weight in weights:
                action(name, weight)

        return run

    parts = {
        "generator, Rademacher": over_all(
            lambda name, w: directions.words(KEY, 1, name, 0, -(-w.numel() // 128), cpu)
        ),
        "bits to signs": over_all(lambda name, w: directions.signs(words[: -(-w.numel() // 128)])),
        "w ± εz into scratch": over_all(
            lambda name, w: torch.add(
                w, w, alpha=EPSILON, out=scratch.view(-1)[: w.numel()].view_as(w)
            )
        ),
    }
    taken = in_turns(parts, 5)
    print("\n| part of a dense step, over all 106 M weights | median |\n|---|---|")
    for name, seconds in taken.items():
        print(f"| {name} | {sorted(seconds)[2]:.3f} s |")


if __name__ == "__main__":
    main()
