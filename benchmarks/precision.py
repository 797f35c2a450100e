"""float32 against bfloat16 forward passes on this machine's CPU: why `base: auto` chooses as it does.

python -m benchmarks.precision
"""

from __future__ import annotations

import torch

from antiphon.client.language_model import load, token_losses
from antiphon.core.section import Choice
from benchmarks.seeds_step import batch_of
from benchmarks.timing import in_turns, machine, said


@torch.no_grad()
def main() -> None:
    """Print the table."""
    models = {
        name: load("smollm2-135m", "cpu", Choice(kind=name)) for name in ("float32", "bfloat16")
    }
    batch = batch_of(models["float32"])
    taken = in_turns(
        {name: lambda model=model: token_losses(model, batch) for name, model in models.items()}, 9
    )
    print(machine())
    print(f"AMX: {torch.cpu._is_amx_tile_supported()}")
    print("| forward pass, 8 × 48 tokens | median | to float32 | spread |\n|---|---|---|---|")
    for name in taken:
        print(said(taken, name, "float32"))


if __name__ == "__main__":
    main()
