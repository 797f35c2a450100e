"""What a few hostile clients do to a run: attack × rule × number of attackers, and the cost without any.

    python -m benchmarks.poisoning [--method lora seeds] [--attackers 1 2 3] [--seeds 7 8]
                                   [--rules median fltrust] [--attacks flip both]

The tiny task shared out evenly among ten clients, five rounds. Each cell is the held-out accuracy after the
last round, the mean over the seeds; chance is about 0.5. `flip` sends the way back, ten times as long;
`norm` sends it at an L2 norm of 999, just below what a coordinator refuses; `claim` sends the way back as
it is and claims 10⁹ examples; `both` sends it ten times as long and claims 10⁹; `random` sends normal
noise. The robust rules stand behind clip and cap.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antiphon.core import config as configs
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

_ROOT = Path(__file__).parent.parent
CLIENTS = 10
ATTACKS: dict[str, str] = {
    "flip": "liar: sign-flipped, liar_scale: 10",
    "norm": "liar: sign-flipped, liar_norm: 999",
    "claim": "liar: sign-flipped, claims_examples: 1000000000",
    "both": "liar: sign-flipped, liar_scale: 10, claims_examples: 1000000000",
    "random": "liar: random",
}
_BOUNDED = "protection=[clip, cap]"
RULES: dict[str, tuple[str, ...]] = {
    "mean, no protection": ("protection=[]",),
    "clip and cap": (_BOUNDED,),
    "clip, cap and agree": ("protection=[clip, cap, agree]",),
    "trimmed_mean": (_BOUNDED, "aggregation={kind: trimmed_mean, hostile: 0.3}"),
    "median": (_BOUNDED, "aggregation=median"),
    "multi_krum": (_BOUNDED, "aggregation={kind: multi_krum, hostile: 0.3}"),
    "geometric_median": (_BOUNDED, "aggregation=geometric_median"),
    "centered_clip": (_BOUNDED, "aggregation=centered_clip"),
    "fltrust": (_BOUNDED, "aggregation={kind: fltrust, trusted: client-09}"),
}
_NOT_BY_SEEDS = ("trimmed_mean", "median")


def accuracy(work: Path, fleet: Path | None, *overrides: str) -> float:
    """Return the held-out accuracy after the last round."""
    given = (
        f"output.runs_dir={work}",
        "evaluation.before_first_round=false",
        "evaluation.every=5",
        f"data.clients={CLIENTS}",
        "data.partition=iid",
        "data.eval_examples=40",
        *((f"engine.fleet={fleet}",) if fleet else ()),
        *overrides,
    )
    config = configs.load(_ROOT / "examples" / "tiny.yaml", given)
    report: dict[str, Any] = json.loads(
        simulate(config, load_split(config)).report_json.read_text()
    )
    return float(report["final"]["accuracy"])


def cell(work: Path, seeds: Sequence[int], attack: str, attackers: int, *overrides: str) -> str:
    """Return the mean over the seeds, as a table has it."""
    fleet = work / f"{attack}-{attackers}.yaml"
    if attackers:
        hostile = f"{{count: {attackers}, step_s: 1, {ATTACKS[attack]}}}"
        fleet.write_text(f"clients:\n  - {hostile}\n  - {{step_s: 1}}\n")
    found = [accuracy(work, fleet if attackers else None, f"seed={s}", *overrides) for s in seeds]
    return f"{sum(found) / len(found):.2f}"


def main() -> None:
    """Print a table for each method and number of attackers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", nargs="+", default=["lora", "seeds"])
    parser.add_argument("--attackers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    given = parser.parse_args()
    print("| Method, attackers | Rule | none | " + " | ".join(given.attacks) + " |")
    print("|---|---|---|" + "---|" * len(given.attacks), flush=True)
    for method in given.method:
        for rule in given.rules:
            if method == "seeds" and rule in _NOT_BY_SEEDS:
                continue
            chosen = RULES[rule]
            overrides = (f"method={method}", *chosen)
            with tempfile.TemporaryDirectory() as folder:
                clean = cell(Path(folder), given.seeds, "none", 0, *overrides)
                for attackers in given.attackers:
                    cells = [
                        cell(Path(folder), given.seeds, attack, attackers, *overrides)
                        for attack in given.attacks
                    ]
                    row = " | ".join([f"{method}, {attackers}", rule, clean, *cells])
                    print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
