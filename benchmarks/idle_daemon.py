"""What an idle client costs: the daemon waits for work, its trainer has been given back.

python -m benchmarks.idle_daemon [--seconds 60]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import psutil
from tests.network.fleet import NUMPY_TRAINER, ProcessFleet

from benchmarks.network_round import config, shapes


def main() -> None:
    """Print memory and processor of a daemon that has nothing to do."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data.json"
        data.write_text(json.dumps({"examples": 10, "factors": shapes(100_000)}))
        fleet = ProcessFleet(folder, config(1, 2, "factors"))  # a second client never comes
        try:
            fleet.serve()
            fleet.wait_until_served()
            fleet.enrol("idle")
            fleet.client("idle", data, trainer=NUMPY_TRAINER, keep_warm_s=1.0)
            while not fleet.status()["clients"]:
                time.sleep(0.2)
            time.sleep(10)
            daemon = psutil.Process(fleet.processes["idle"].pid)
            trainers = len(daemon.children())
            before, start = daemon.cpu_times(), time.monotonic()
            time.sleep(given.seconds)
            after, took = daemon.cpu_times(), time.monotonic() - start
            share = (after.user + after.system - before.user - before.system) / took
            memory = daemon.memory_info().rss
            print("| Memory (RSS) | CPU | Trainer processes |")
            print("|---|---|---|")
            print(f"| {memory / 1e6:.0f} MB | {share:.2%} of a core | {trainers} |")
        finally:
            fleet.close()


if __name__ == "__main__":
    main()
