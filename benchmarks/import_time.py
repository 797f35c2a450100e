"""Importing the coordinator's side: seconds, and that no torch comes with it.

python -m benchmarks.import_time
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.timing import machine

IMPORT = (
    "import antiphon.server.federation, antiphon.server.report.report, sys; "
    "print('torch' in sys.modules)"
)


def main() -> None:
    """Print the table."""
    taken, empty = [], []
    for _ in range(7):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        )
        taken.append(time.perf_counter() - start)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", ""], check=True)
        empty.append(time.perf_counter() - start)
    print(machine())
    print("| process | median |\n|---|---|")
    print(f"| an empty interpreter | {statistics.median(empty):.2f} s |")
    print(f"| the coordinator's modules | {statistics.median(taken):.2f} s |")
    print(f"| torch imported | {done.stdout.strip()} |")


if __name__ == "__main__":
    main()
