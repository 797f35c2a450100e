"""A fleet of processes whose clients reach their coordinator over lines of a given weather.

For the tests and the benchmark of bad networks: every client has a proxy of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.network.fleet import NUMPY_TRAINER, ROOT, ProcessFleet
from tests.network.proxy import Proxy, Weather

_SIDE, _RANK = 1500, 10


def factors(size_bytes: int) -> dict[str, list[int]]:
    """Return the shapes of an adapter whose delta has about so many bytes."""
    names = [f"base_model.model.layers.{n}.q_proj" for n in range(size_bytes // 120_000)]
    return {
        name: shape
        for module in names
        for name, shape in (
            (f"{module}.lora_A.weight", [_RANK, _SIDE]),
            (f"{module}.lora_B.weight", [_SIDE, _RANK]),
        )
    }


def run_config(rounds: int, cohort: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run that only moves bytes."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "tiny.yaml").read_text())
    return values | {
        "name": "lines",
        "rounds": rounds,
        "lora": {"r": _RANK, "target_modules": "all-linear"},
        "aggregation": "factors",
        "training": {**values["training"], "max_steps": 1},
        "cohort": dict(cohort),
        "evaluation": {"before_first_round": False, "every": rounds},
        "output": {"adapter_every": 1},
    }


@asynccontextmanager
async def over_lines(
    fleet: ProcessFleet, data: Mapping[str, Path], weather: Weather, **settings: Any
) -> AsyncIterator[dict[str, Proxy]]:
    """Start a coordinator and a client for each data file; give the clients' proxies, by name.

    settings: of the coordinator. All processes are killed at the end.
    """
    try:
        fleet.serve(settings=settings)
        await asyncio.to_thread(fleet.wait_until_served)
        await asyncio.to_thread(fleet.enrol, *data)
        async with AsyncExitStack() as stack:
            proxies = {}
            for name, file in data.items():
                proxy = await stack.enter_async_context(Proxy(fleet.ports["listen"], weather))
                fleet.client(name, file, coordinator=proxy.address, trainer=NUMPY_TRAINER)
                proxies[name] = proxy
            yield proxies
    finally:
        fleet.close()


async def until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait until a condition holds; return the seconds it took, for benchmarks. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not condition():
        if loop.time() - start > timeout_s:
            raise TimeoutError(f"no {what} within {timeout_s} s")
        await asyncio.sleep(0.05)
    return loop.time() - start
