"""Run every benchmark, one after the other, each in a process of its own: what docs/benchmarks.md reports.

python -m benchmarks.all
"""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = (
    "import_time",
    "aggregation_error",
    "precision",
    "seeds_step",
    "rebuild",
    "seeds_memory",
    "seeds_bytes",
    "lora_vs_plain_loop",
    "fold",
    "idle_daemon",
    "network_round",
    "transfer",
    "coordinator_memory",
    "parked_clients",
    "bad_network",
    "leaks",
    "codecs",
    "mixed",
    "asynchrony",
    "crowd",
    "time_to_loss",
    "dashboard",
    "replay",
    "flower_round",
    "flower_simulation",
    "bytes_to_quality",
    "second_task",
)


def main() -> None:
    """Run them; stop at the first that fails."""
    for script in SCRIPTS:
        print(f"\n## {script}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{script}"], check=True)


if __name__ == "__main__":
    main()
