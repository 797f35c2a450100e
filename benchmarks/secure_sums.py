"""What a sum under masks costs beside a plain round: bytes, and seconds of clients and coordinator.

    python -m benchmarks.secure_sums

Both halves of a round's exchanges in one process, with signed keys, and a plain round's model and update as
float32 beside them; no network.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tests.client.secure.cohort import Cohort
from tests.client.secure.signers import Signers

from antiphon.core.config import RunConfig, validate
from antiphon.core.space import Shape, SpaceShapes
from antiphon.core.tensors import to_bytes
from antiphon.strategies.methods.method import method_of
from antiphon.strategies.secure.names import KEYS, MASKED, SHARES, UNMASKING

_ROOT = Path(__file__).parent.parent
_CASES = (("fedsb", 100, 60, 8, 30), ("ffa", 16, 15, 16, 4))
"""(method, clients, modules, rank, how many drop out)."""


def run_config(method: str, r: int) -> RunConfig:
    """Return a run that sums under masks."""
    values: dict[str, Any] = yaml.safe_load((_ROOT / "examples" / "tiny.yaml").read_text())
    privacy = {"secure_aggregation": {"reach": 1.0}}
    return validate(values | {"method": method, "lora": {"r": r}, "privacy": privacy})


def shapes_of(modules: int, r: int) -> SpaceShapes:
    """Return factors of modules of 1,920 outputs."""
    factors: dict[str, Shape] = {}
    for number in range(modules):
        name = f"base_model.model.layers.{number}.q_proj"
        factors |= {f"{name}.lora_A.weight": (r, 576), f"{name}.lora_B.weight": (1920, r)}
    return SpaceShapes(factors, {}, "", 1)


def measure(method: str, clients: int, modules: int, r: int, lost: int) -> None:
    """Print a row."""
    config, shapes = run_config(method, r), shapes_of(modules, r)
    numbers = method_of(config).space.numbers(shapes)
    size = sum(math.prod(each) for each in numbers.values())
    delta = {name: np.full(shape, 0.1, np.float32) for name, shape in numbers.items()}
    names = [f"client-{number:03d}" for number in range(clients)]
    signers = Signers()
    with tempfile.TemporaryDirectory() as folder:
        cohort = Cohort(
            config,
            Path(folder),
            dict.fromkeys(names, delta),
            shapes,
            sites={each: signers.site(each) for each in names},
        )
        begun = time.perf_counter()
        cohort.exchange(KEYS, names)
        cohort.exchange(SHARES, names)
        cohort.train(names[lost:])
        halfway = time.perf_counter()
        told = {each: cohort.assignment(each).told for each in names[:1]}
        asked = cohort.exchanges[UNMASKING]
        shares = {
            each: cohort.check(
                UNMASKING,
                each,
                cohort.answer(UNMASKING, each, to_bytes(asked.ask(cohort.so_far(), each))),
            )
            for each in names[lost:]
        }
        unmasking = time.process_time()
        asked.combine(cohort.so_far(), shares)
        unmasked = time.process_time() - unmasking
        last = names[-1]
        questions = sum(
            len(to_bytes(cohort.exchanges[each].ask(cohort.so_far(), last)))
            for each in (KEYS, SHARES, UNMASKING)
        )
        answers = sum(len(content) for _, client, content in cohort.said if client == last)
    vector = cohort.updates[last].payload.arrays[MASKED].nbytes
    down, up = questions + len(to_bytes(next(iter(told.values())))), answers + vector
    model = plain = 4 * size
    print(
        f"| {clients} × {size:,} (`{method}`) | {1000 * (halfway - begun) / clients:.0f} ms "
        f"| {unmasked:.2f} s, {lost} lost | {up:,} + {model + down:,} B | {plain:,} + {model:,} B "
        f"| {(up + model + down) / (plain + model):.2f} × | {vector / plain:.2f} × |",
        flush=True,
    )


def main() -> None:
    """Print a table."""
    print("| Clients × numbers | A client | Unmasking | Bytes up + down | Plain | All | Up alone |")
    print("|---|---|---|---|---|---|---|")
    for case in _CASES:
        measure(*case)


if __name__ == "__main__":
    main()
