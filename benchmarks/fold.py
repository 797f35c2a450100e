"""What a fold costs: time against Householder QR, and its peak memory by the number of clients.

    python -m benchmarks.fold [--turns 3]

Adapters of r = 16 on square modules of 2048, so that 16 modules are 1 M parameters and 305 are 20 M;
updates are safetensors files, folded by method `lora` with server optimizer `sgd`. `before` is the same
fold as it was: one module after the other, explicit Q factors from QR in float64, and each tensor looked up
by opening its file anew. Both take turns in one process. Peak memory is that of a process of its own, less
what it held when the updates lay ready; 64 clients share four files, each read as often as it is folded.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from antiphon.core.tensors import LazyTensors, write_tensors
from antiphon.core.types import FloatArray, Package, Params, State, Update
from antiphon.strategies.aggregation.adapter import Factors, factors_of, modules
from antiphon.strategies.aggregation.alignment import align
from antiphon.strategies.aggregation.contribution import (
    Aggregated,
    Aggregation,
    Contribution,
    shares,
)
from antiphon.strategies.aggregation.factors import factors
from antiphon.strategies.aggregation.low_rank import Spectrum, truncate
from antiphon.strategies.aggregation.product import product
from antiphon.strategies.fold import Context, Folded
from antiphon.strategies.forms.delta import delta
from antiphon.strategies.methods.method import chain
from antiphon.strategies.methods.ranks import Ranks
from antiphon.strategies.methods.served import Served
from antiphon.strategies.seed_space import Directions, walked_tensors
from antiphon.strategies.server_opt.optimizers import sgd
from antiphon.strategies.spaces.lora import factors as adapters
from benchmarks.timing import in_turns, machine, ratio

R, SIZE, FILES = 16, 2048, 4
ROUND = Context(1)
RULES: dict[str, Callable[[], Aggregation]] = {"product": product, "factors": factors}
TIMED = (("product", 2, 16), ("factors", 2, 16), ("product", 4, 305), ("factors", 4, 305))
MEASURED = (("product", 4, 32), ("product", 64, 32), ("factors", 4, 305), ("factors", 64, 305))

Matrix = npt.NDArray[np.float64]
Term = tuple[float, Factors]


@dataclass(frozen=True)
class Reopened(Mapping[str, FloatArray]):
    """Tensors of a file that is opened and mapped for each look-up."""

    path: Path
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> FloatArray:
        """Open the file and read one tensor."""
        with safe_open(self.path, framework="np") as file:
            tensor: FloatArray = file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return len(self.names)


def stacked(terms: Sequence[Term]) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Return Q_b, Q_a, R_b, R_a of a sum of products."""
    q_b, r_b = np.linalg.qr(np.hstack([each.b for _, each in terms]))
    q_a, r_a = np.linalg.qr(np.hstack([scale * each.a.T for scale, each in terms]))
    return q_b, q_a, r_b, r_a


def norm(terms: Sequence[Term]) -> float:
    _, _, r_b, r_a = stacked(terms)
    return float(np.linalg.norm(r_b @ r_a.T))


def nearest(
    reference: Factors, scale: float, terms: Sequence[Term]
) -> tuple[Factors, float, float]:
    q_b, q_a, r_b, r_a = stacked(terms)
    u, sigma, vt = np.linalg.svd(r_b @ r_a.T)
    whole = Spectrum(q_b @ u, sigma, vt @ q_a.T)
    truncated = truncate(whole, reference.r, scale, spare=reference.a)
    return align(truncated, reference), whole.dropped(reference.r), whole.norm


def averaged(
    reference: Factors, scale: float, terms: Sequence[Term]
) -> tuple[Factors, float, float]:
    b = sum(share / scale * each.b for share, each in terms)
    a = sum(share / scale * each.a for share, each in terms)
    mean = Factors(np.asarray(b), np.asarray(a))
    return mean, norm([*terms, (-scale, mean)]), norm(terms)


def before(rule: str) -> Aggregation:
    """Return the aggregation through Householder QR, for clients of one rank and start."""
    step = {"product": nearest, "factors": averaged}[rule]

    def aggregate(start: Params, scale: float, contributions: Sequence[Contribution]) -> Aggregated:
        params: dict[str, FloatArray] = {}
        missed = whole = 0.0
        for module in modules(start):
            terms = []
            for share, each in shares(contributions):
                begin, delta = factors_of(each.start, module), factors_of(each.delta, module)
                moved = Factors(begin.b + delta.b, begin.a + delta.a)
                terms.append((share * each.scale, moved))
            found, one, other = step(factors_of(start, module), scale, terms)
            params |= found.named(module)
            missed, whole = math.hypot(missed, one), math.hypot(whole, other)
        return Aggregated(params, missed / whole)

    return Aggregation(aggregate)


def tensors(seed: int, count: int, size: float) -> dict[str, FloatArray]:
    rng = np.random.default_rng(seed)
    shapes = {"A": (R, SIZE), "B": (SIZE, R)}
    return {
        f"m{i}.lora_{side}.weight": np.float32(size) * rng.standard_normal(shape, dtype=np.float32)
        for i in range(count)
        for side, shape in shapes.items()
    }


def write(folder: Path, count: int) -> None:
    """Write the files that clients share."""
    for i in range(FILES):
        write_tensors(folder / f"{i}.safetensors", tensors(1 + i, count, 1e-3))


def updates(folder: Path, clients: int, *, reopened: bool = False) -> list[Update]:
    made = []
    for i in range(clients):
        lazy = LazyTensors(folder / f"{i % FILES}.safetensors")
        moved: Params = Reopened(lazy.path, tuple(lazy)) if reopened else lazy
        made.append(Update(f"client-{i:03}", 1, 10 + i, 5, Package("delta", moved)))
    return made


def served(aggregation: Aggregation, count: int) -> tuple[Served, State]:
    walked = walked_tensors(Directions("lowrank", 1, 0), 1)
    space = adapters(aggregation, alpha=2 * R, r=R, walked=walked)
    method = Served(space, {"lora": delta()}, chain(space, (), sgd()), Ranks(R))
    return method, method.init(tensors(0, count, 0.02))


def timed(rule: str, clients: int, count: int, turns: int) -> str:
    """Return one line of the table of times."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), count)
        slow, state = served(before(rule), count)
        fast, _ = served(RULES[rule](), count)
        old, new = updates(Path(name), clients, reopened=True), updates(Path(name), clients)
        actions: dict[str, Callable[[], Folded]] = {
            "before": lambda: slow.fold(state, old, ROUND),
            "after": lambda: fast.fold(state, new, ROUND),
        }
        taken = in_turns(actions, turns)
        errors = [each().report["aggregation_error"] for each in actions.values()]
    low, middle, high = ratio(taken, "before", "after")
    return (
        f"| {rule} | {clients} × {count * 2 * R * SIZE / 1e6:.0f} M | {min(taken['before']):.3f} s "
        f"| {min(taken['after']):.3f} s | {middle:.1f} × ({low:.1f} to {high:.1f}) "
        f"| {errors[0]:.6f}, {errors[1]:.6f} |"
    )


def peak(rule: str, clients: int, count: int) -> int:
    """Return what a fold adds to the resident memory of this process, in bytes."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), 1)  # what the first fold loads is not the fold's memory
        method, state = served(RULES[rule](), 1)
        method.fold(state, updates(Path(name), 2), ROUND)
        write(Path(name), count)
        method, state = served(RULES[rule](), count)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        begin = resident("VmRSS")
        method.fold(state, updates(Path(name), clients), ROUND)
        return resident("VmHWM") - begin


def resident(which: str) -> int:
    """Return the resident bytes of this process, now (VmRSS) or at the most (VmHWM); Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(which))


def peak_apart(rule: str, clients: int, count: int) -> str:
    """Return one line of the table of memory, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fold", "--peak", rule, str(clients), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size = count * 2 * R * SIZE / 1e6
    return f"| {rule} | {clients} × {size:.0f} M | {int(done.stdout) / 1e6:.0f} MB |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of a fold.")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peak", nargs=3, metavar=("RULE", "CLIENTS", "MODULES"))
    options = parser.parse_args()
    if options.peak:
        rule, clients, count = options.peak
        print(peak(rule, int(clients), int(count)))
        return
    print(machine())
    print("| rule | clients | before | after | before / after | reported errors |")
    print("|---|---|---|---|---|---|")
    for case in TIMED:
        print(timed(*case, options.turns), flush=True)
    print("\n| rule | clients | peak memory of a fold |\n|---|---|---|")
    for case in MEASURED:
        print(peak_apart(*case), flush=True)


if __name__ == "__main__":
    main()
