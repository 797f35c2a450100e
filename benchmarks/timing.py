"""Fair timing: the things compared take turns in one process, and the ratio is taken turn by turn."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def in_turns(actions: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Run each action once to warm up, then all of them `turns` times in turn; return seconds."""
    for action in actions.values():
        action()
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(turns):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            taken[name].append(time.perf_counter() - start)
    return taken


def ratio(
    taken: Mapping[str, list[float]], name: str, reference: str
) -> tuple[float, float, float]:
    """Return the smallest, the median and the largest of name / reference, turn by turn."""
    ratios = sorted(a / b for a, b in zip(taken[name], taken[reference], strict=True))
    return ratios[0], statistics.median(ratios), ratios[-1]


def said(taken: Mapping[str, list[float]], name: str, reference: str) -> str:
    """Return one line of a table: median seconds and the ratio with its spread."""
    low, middle, high = ratio(taken, name, reference)
    seconds = statistics.median(taken[name])
    return f"| {name} | {seconds:.3f} s | {middle:.2f} × | {low:.2f} to {high:.2f} |"


def machine() -> str:
    """Return the processor, the cores and the versions that matter."""
    import torch

    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = names[0] if names else platform.processor()
    level = torch.backends.cpu.get_cpu_capability()
    return (
        f"{model}, {os.cpu_count()} cores, {level}; Python {platform.python_version()}, torch "
        f"{torch.__version__}, {torch.get_num_threads()} threads"
    )
