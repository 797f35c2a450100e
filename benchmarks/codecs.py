"""Codecs: speed over 20 M parameters, and error at equal rate; --plot draws docs/pictures/codecs.png.

    python -m benchmarks.codecs [--plot]

The reference of the speeds is numpy's own cast to float16 and back, in the same run. The targets of the
errors are those of tests/strategies/test_ecdq.py, each the mean over three draws of 262,144 parameters.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from antiphon.core.types import FloatArray
from antiphon.strategies.compression.bf16 import bf16
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.compression.dense import float32
from antiphon.strategies.compression.ecdq import ecdq
from antiphon.strategies.compression.int8 import int8
from antiphon.strategies.compression.topk import topk
from benchmarks.timing import machine

SPEED_PARAMETERS, TURNS = 20_000_000, 3
N, ROWS, DRAWS = 262_144, 512, 3
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "codecs.png"

Draw = Callable[[np.random.Generator], np.ndarray]
DISTRIBUTIONS: dict[str, Draw] = {
    "Gaussian": lambda rng: rng.normal(size=N),
    "Laplace": lambda rng: rng.laplace(size=N),
    "Student-t(3)": lambda rng: rng.standard_t(3, size=N),
    "Gaussian, log-normal rows": lambda rng: (
        rng.normal(size=(ROWS, N // ROWS)) * np.exp(rng.normal(size=(ROWS, 1)))
    ),
}
TARGETS = {
    0.34: (0.729, 0.600, 0.454, 0.270),
    1.0: (0.361, 0.267, 0.216, 0.091),
    2.0: (0.098, 0.079, 0.062, 0.024),
    3.0: (0.023, 0.020, 0.016, 0.007),
}
MEASURED: dict[str, Codec] = {
    "float32": float32(),
    "bf16": bf16(),
    "int8": int8(),
    "topk 5 %": topk(),
    "ecdq 0.34": ecdq(bits=0.34),
    "ecdq 1": ecdq(),
    "ecdq 2": ecdq(bits=2.0),
    "ecdq 4": ecdq(bits=4.0),
    "ecdq 8": ecdq(bits=8.0),
}


class Speed(NamedTuple):
    """Seconds of one call: by the clock, and of processors (all threads together)."""

    clock: float
    processors: float


def speed(action: Callable[[], object]) -> Speed:
    """Return the median times of `TURNS` calls, after one to warm up."""
    action()
    taken = []
    for _ in range(TURNS):
        began = Speed(time.perf_counter(), time.process_time())
        action()
        taken.append(
            Speed(time.perf_counter() - began.clock, time.process_time() - began.processors)
        )
    return Speed(*(statistics.median(each) for each in zip(*taken, strict=True)))


def error(codec: Codec, values: FloatArray) -> tuple[float, float]:
    """Return the bits per parameter and ‖x − x̂‖² / ‖x‖²."""
    content = codec.encode({"w": values}, np.random.default_rng(0))
    got = codec.decode(content, {"w": values.shape})["w"].astype(np.float64)
    return 8 * len(content) / values.size, float(((got - values) ** 2).sum() / (values**2).sum())


def mean_error(codec: Codec, draw: Draw) -> tuple[float, float]:
    """Return the mean of rate and error over the draws."""
    drawn = [draw(np.random.default_rng(seed)).astype(np.float32) for seed in range(DRAWS)]
    rate, lost = np.mean([error(codec, values) for values in drawn], axis=0)
    return float(rate), float(lost)


def print_speeds() -> None:
    """Print the table of speeds."""
    flat = np.random.default_rng(0).standard_normal(SPEED_PARAMETERS, np.float32)
    half = flat.astype(np.float16)
    print(
        f"| {SPEED_PARAMETERS / 1e6:.0f} M parameters | bits each | encode, M/s | decode, M/s "
        "| encode, M per processor-second | decode |\n|---|---|---|---|---|---|"
    )
    print_row(
        "numpy: cast to float16, and back",
        16.0,
        speed(lambda: flat.astype(np.float16)),
        speed(lambda: half.astype(np.float32)),
    )
    for name, codec in MEASURED.items():
        pack = partial(codec.encode, {"w": flat}, np.random.default_rng(0))
        content = pack()
        unpack = partial(codec.decode, content, {"w": flat.shape})
        print_row(name, 8 * len(content) / flat.size, speed(pack), speed(unpack))


def print_row(name: str, bits: float, encode: Speed, decode: Speed) -> None:
    """Print one line of the table, in millions of parameters for each second."""
    rates = (encode.clock, decode.clock, encode.processors, decode.processors)
    cells = " | ".join(f"{SPEED_PARAMETERS / each / 1e6:.0f}" for each in rates)
    print(f"| {name} | {bits:.3f} | {cells} |", flush=True)


def print_errors() -> None:
    """Print the table of errors beside their targets."""
    print(f"| bits | {' | '.join(DISTRIBUTIONS)} |\n|---|{'---|' * len(DISTRIBUTIONS)}")
    for bits, targets in TARGETS.items():
        cells = []
        for draw, target in zip(DISTRIBUTIONS.values(), targets, strict=True):
            rate, lost = mean_error(ecdq(bits=bits), draw)
            cells.append(f"{lost:.4f} at {rate:.3f} (target {target})")
        print(f"| {bits} | {' | '.join(cells)} |", flush=True)


def plot() -> None:
    """Draw the error of each codec over its rate, one panel for each distribution."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(DISTRIBUTIONS), sharey=True)
    rates = (0.05, 0.1, 0.2, 0.34, 0.58, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    kept = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    for panel, (name, draw) in zip(panels, DISTRIBUTIONS.items(), strict=True):
        for label, codecs, style in (
            ("ecdq", [ecdq(bits=bits) for bits in rates], "-o"),
            ("topk, 1 % to 40 %, bf16 values", [topk(fraction=part) for part in kept], "-s"),
            ("int8", [int8()], "D"),
            ("bf16", [bf16()], "^"),
        ):
            points = np.array([mean_error(codec, draw) for codec in codecs])
            panel.loglog(points[:, 0], points[:, 1], style, label=label, markersize=4)
        if name == "Gaussian":
            panel.loglog(rates, [4.0**-bits for bits in rates], "k:", label="Gaussian bound, 4⁻ᴿ")
        panel.set(title=name, xlabel="bits per parameter")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("‖x − x̂‖² / ‖x‖²")
    panels[0].legend(fontsize=8)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    """Print both tables, or draw the picture."""
    if "--plot" in sys.argv[1:]:
        plot()
        return
    print(machine(), end="\n\n")
    print_speeds()
    print()
    print_errors()


if __name__ == "__main__":
    main()
