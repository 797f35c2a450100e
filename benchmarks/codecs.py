"""Codecs: speed over 20 M parameters, and error at equal rate; --plot draws docs/pictures/codecs.png.

    python -m benchmarks.codecs [--plot]

The reference of the speeds is numpy's own cast to float16 and back, in the same run. The targets of the
errors are those of tests/strategies/test_ecdq.py, each the mean over three draws of 262,144 parameters.
Beside the drawn sources stand six steps of Adam in noise, and what three clients of examples/lora.yaml send
in its first round (recorded here, a minute's work), each with the best of the other codecs at the same
bytes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from antiphon.client.data.clients import encode_client
from antiphon.core.config import load
from antiphon.core.types import FloatArray
from antiphon.simulation.shares import load_split
from antiphon.strategies.compression.bf16 import bf16
from antiphon.strategies.compression.blockwise import int4, int8
from antiphon.strategies.compression.codec import Codec
from antiphon.strategies.compression.dense import float32
from antiphon.strategies.compression.ecdq import ecdq
from antiphon.strategies.compression.eden import eden
from antiphon.strategies.compression.sign import sign
from antiphon.strategies.compression.ternary import ternary
from antiphon.strategies.compression.topk import topk
from benchmarks.lora_vs_plain_loop import LORA, peft_model, set_to, train
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
OTHERS: dict[float, dict[str, Codec]] = {
    0.34: {"ternary": ternary(fraction=0.05)},
    1.0: {"sign": sign(block=1 << 20), "EDEN": eden(bits=1), "ternary": ternary(fraction=0.22)},
    2.0: {"EDEN": eden(bits=2)},
}
"""Codecs at about the same bytes."""
MEASURED: dict[str, Codec] = {
    "float32": float32(),
    "bf16": bf16(),
    "int8": int8(),
    "int4": int4(),
    "sign": sign(),
    "ternary 5 %": ternary(),
    "topk 5 %": topk(),
    "eden 1": eden(),
    "eden 4": eden(bits=4),
    "ecdq 0.34": ecdq(bits=0.34),
    "ecdq 1": ecdq(),
    "ecdq 2": ecdq(bits=2.0),
    "ecdq 4": ecdq(bits=4.0),
    "ecdq 8": ecdq(bits=8.0),
}


def adam(rng: np.random.Generator) -> np.ndarray:
    """Return six steps of Adam, linearly smaller, each parameter with a gradient of its own in noise."""
    mean = 0.3 * rng.normal(size=N)
    first, second, moved = np.zeros(N), np.zeros(N), np.zeros(N)
    for step in range(1, 7):
        gradient = mean + rng.normal(size=N)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        size = 1 - (step - 1) / 30
        moved -= size * first / (1 - 0.9**step) / np.sqrt(second / (1 - 0.999**step))
    return moved


@cache
def recorded() -> tuple[FloatArray, ...]:
    """Return what three clients of examples/lora.yaml send in round 1, A and B of r = 8 as one."""
    config = load(LORA)
    clients = load_split(config).clients[:3]
    model, tokenizer = peft_model(config)
    trained = [p for p in model.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in trained]
    found = []
    for client in clients:
        set_to(trained, start)
        data = encode_client(tokenizer, client, config.model.max_length)
        train(model, trained, data, config, 0, tokenizer.pad_token_id)
        moved = [(p.detach() - s).flatten() for p, s in zip(trained, start, strict=True)]
        found.append(torch.cat(moved).numpy())
    return tuple(found)


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
    return mean_of(codec, drawn)


def mean_of(codec: Codec, drawn: Iterable[FloatArray]) -> tuple[float, float]:
    """Return the mean of rate and error over some updates."""
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


def print_first_steps() -> None:
    """Print the table of errors on what clients send first, beside the best of the others."""
    sources = {
        "six steps of Adam": [
            adam(np.random.default_rng(s)).astype(np.float32) for s in range(DRAWS)
        ],
        "LoRA's round 1": recorded(),
    }
    print(f"| bits | codec | {' | '.join(sources)} |\n|---|---|{'---|' * len(sources)}")
    for bits in (0.1, 0.34, 0.5, 0.7, 0.85, 1.0, 1.3, 2.0, 3.0):
        for name, codec in {"ecdq": ecdq(bits=bits), **OTHERS.get(bits, {})}.items():
            found = [mean_of(codec, each) for each in sources.values()]
            cells = " | ".join(f"{lost:.4f} at {rate:.3f}" for rate, lost in found)
            print(f"| {bits} | {name} | {cells} |", flush=True)


def plot() -> None:
    """Draw the error of each codec over its rate, one panel for each distribution."""
    figure = Figure(figsize=(16, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(DISTRIBUTIONS) + 1, sharey=True)
    rates = (0.05, 0.1, 0.2, 0.34, 0.58, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    kept = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    sources = {**DISTRIBUTIONS, "six steps of Adam": adam}
    for panel, (name, draw) in zip(panels, sources.items(), strict=True):
        for label, codecs, style in (
            ("ecdq", [ecdq(bits=bits) for bits in rates], "-o"),
            ("topk, 1 % to 40 %, bf16 values", [topk(fraction=part) for part in kept], "-s"),
            ("EDEN, 1 to 4 bits", [eden(bits=bits) for bits in (1, 2, 3, 4)], "-v"),
            ("ternary, 1 % to 40 %", [ternary(fraction=part) for part in kept], "-x"),
            ("sign", [sign()], "*"),
            ("int4, int8", [int4(), int8()], "D"),
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
    print()
    print_first_steps()


if __name__ == "__main__":
    main()
