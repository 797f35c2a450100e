"""The journal's ledger of bytes against the bytes on the wire."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.network.fleet import ProcessFleet
from tests.network.history import entries_of
from tests.network.lines import factors, over_lines, run_config, until
from tests.network.proxy import Weather

from antiphon.core.events import BytesMoved

MB = 1_000_000


async def run(
    folder: Path, config: dict[str, Any], told: dict[str, Any]
) -> dict[str, Counter[str]]:
    """Run two clients; return the bytes up and down by client, in the ledger and on the wire."""
    fleet = ProcessFleet(folder, config)
    files = {name: folder / f"{name}.json" for name in ("ada", "bea")}
    for file in files.values():
        file.write_text(json.dumps({"examples": 10, **told}))
    async with over_lines(fleet, files, Weather()) as proxies:
        coordinator = fleet.processes["coordinator"]
        await until(lambda: coordinator.poll() is not None, 120, "end of the run")
        wire = {k: Counter(up=p.bytes_up, down=p.bytes_down) for k, p in proxies.items()}
    ledger = {name: Counter[str]() for name in files}
    for entry in entries_of(fleet.run_folder):
        if isinstance(entry.event, BytesMoved):
            ledger[entry.event.client][entry.event.direction] += entry.event.bytes
    return {f"{name} {each}": Counter(ledger=ledger[name][each], wire=wire[name][each])
            for name in files for each in ("up", "down")}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["float32", "bf16"])
def test_the_ledger_is_the_wire(codec, tmp_path):
    """Two clients of a million numbers, three rounds: within two per cent in each direction."""
    config = run_config(3, {"min_clients": 2}) | {"compression": {"uplink": codec}}

    counted = asyncio.run(run(tmp_path, config, {"factors": factors(4 * MB)}))

    for name, each in counted.items():
        assert each["ledger"] == pytest.approx(each["wire"], rel=0.02), name
