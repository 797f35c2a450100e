"""A large update over a slow line that breaks, real daemon and coordinator: bytes, attempts, seconds.

    python -m benchmarks.bad_network [--size 12e6] [--rate 60e3] [--cut 2e6]

The line is bad while the update goes up; the model comes down, and is measured, over a clear one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from tests.network.fleet import ProcessFleet
from tests.network.history import entries_of
from tests.network.lines import factors, over_lines, run_config, until
from tests.network.proxy import Weather

from antiphon.core.events import UpdateReceived

_LIMIT_S = 7200.0


async def upload(folder: Path, size: int, rate: float, cut: int) -> dict[str, float]:
    """Run one round of one client; return what its upload took."""
    fleet = ProcessFleet(folder, run_config(1, {"min_clients": 1, "deadline_s": _LIMIT_S}))
    told = {"examples": 10, "constant": 0.001, "step_s": 1.0, "factors": factors(size)}
    file = folder / "ada.json"
    await asyncio.to_thread(file.write_text, json.dumps(told))

    def updates() -> list[UpdateReceived]:
        if fleet.processes["coordinator"].poll() is not None:
            raise ChildProcessError(fleet.log("coordinator"))
        events = (entry.event for entry in entries_of(fleet.run_folder))
        return [event for event in events if isinstance(event, UpdateReceived)]

    async with over_lines(fleet, {"ada": file}, Weather()) as proxies:
        proxy = proxies["ada"]
        await until(lambda: proxy.bytes_down > size, 60, "model")
        before, connections = proxy.bytes_up, proxy.connections
        proxy.weather = Weather(bytes_per_s=rate, cut_every_bytes=cut)
        seconds = await until(lambda: bool(updates()), _LIMIT_S, "update")
        sent = proxy.bytes_up - before
        return {
            "bytes": updates()[0].bytes,
            "sent": sent,
            "cuts": proxy.cuts,
            "attempts": proxy.connections - connections + 1,
            "seconds": seconds,
        }


def main() -> None:
    """Print a table of one row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=float, default=12e6)
    parser.add_argument("--rate", type=float, default=60e3)
    parser.add_argument("--cut", type=float, default=2e6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        took = asyncio.run(upload(Path(folder), int(given.size), given.rate, int(given.cut)))
    print(
        "| Update | Rate | Cut every | Sent | Share | Cuts | Attempts | Seconds | At the rate alone |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(
        f"| {took['bytes'] / 1e6:.1f} MB | {given.rate / 1e3:.0f} kB/s | {given.cut / 1e6:.1f} MB | "
        f"{took['sent'] / 1e6:.2f} MB | {took['sent'] / took['bytes']:.3f} | {took['cuts']:.0f} | "
        f"{took['attempts']:.0f} | {took['seconds']:.0f} s | {took['bytes'] / given.rate:.0f} s |"
    )


if __name__ == "__main__":
    main()
