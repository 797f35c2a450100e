"""Fleets that are drawn instead of written: the same seed gives the same fleet.

hospitals: a few sites with servers on good lines that are nearly always there. phones: many small machines
whose speeds and lines lie a factor of ten apart, that come and go and that drop out. robots: alike
machines with a small GPU that leave for their dock every half an hour. campus: desktop computers, a third
of them with a GPU, on fast lines, free when nobody sits before them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from antiphon.simulation.fleet_file import ClientGroup

Draw = Callable[[np.random.Generator], dict[str, Any]]
_HOUR_S, _DAY_S = 3600.0, 86_400.0


def generate(kind: str, clients: int, seed: int) -> tuple[ClientGroup, ...]:
    """Draw the entries of a fleet file, one for each client; kind: a key of KINDS.

    Client k of a fleet is the same in a larger one of the same kind and seed.
    """
    draw = KINDS[kind]
    return tuple(
        ClientGroup(count=1, **draw(np.random.Generator(np.random.Philox([_key(seed, kind), at]))))
        for at in range(clients)
    )


def hospital(rng: np.random.Generator) -> dict[str, Any]:
    """Draw one hospital's server."""
    has_gpu = rng.random() < 0.8
    memory = rng.choice([16, 24, 48, 80]) if has_gpu else rng.choice([32, 64])
    return {
        "device": "cuda" if has_gpu else "cpu",
        "memory_gb": float(memory),
        "step_s": _rounded(_log_uniform(rng, 0.2, 0.8) if has_gpu else _log_uniform(rng, 2, 4)),
        "uplink_kbps": _rounded(_log_uniform(rng, 50e3, 500e3)),
        "downlink_kbps": _rounded(_log_uniform(rng, 100e3, 1e6)),
        "latency_s": _rounded(rng.uniform(0.005, 0.03)),
        "availability": 0.99,
        "mean_on_s": 7 * _DAY_S,
        "failure_rate": 0.01,
        "data_share": _rounded(rng.uniform(0.3, 1.0)),
    }


def phone(rng: np.random.Generator) -> dict[str, Any]:
    """Draw one phone."""
    return {
        "device": "phone",
        "memory_gb": float(rng.choice([4, 6, 8, 12], p=[0.3, 0.3, 0.3, 0.1])),
        "step_s": _rounded(_log_uniform(rng, 1, 10)),
        "uplink_kbps": _rounded(_log_uniform(rng, 1e3, 10e3)),
        "downlink_kbps": _rounded(_log_uniform(rng, 5e3, 50e3)),
        "latency_s": _rounded(rng.uniform(0.03, 0.2)),
        "availability": _rounded(rng.uniform(0.5, 0.9)),
        "mean_on_s": _HOUR_S,
        "failure_rate": 0.2,
        "data_share": _rounded(rng.uniform(0.3, 1.0)),
    }


def robot(rng: np.random.Generator) -> dict[str, Any]:
    """Draw one robot of a warehouse."""
    return {
        "device": "cuda",
        "memory_gb": float(rng.choice([8, 16])),
        "step_s": _rounded(_log_uniform(rng, 1, 2)),
        "uplink_kbps": _rounded(_log_uniform(rng, 2e3, 40e3)),
        "downlink_kbps": _rounded(_log_uniform(rng, 2e3, 40e3)),
        "latency_s": _rounded(rng.uniform(0.005, 0.1)),
        "availability": _rounded(rng.uniform(0.7, 0.9)),
        "mean_on_s": _HOUR_S / 2,
        "failure_rate": 0.05,
        "data_share": _rounded(rng.uniform(0.7, 1.0)),
    }


def desktop(rng: np.random.Generator) -> dict[str, Any]:
    """Draw one desktop computer of a campus."""
    has_gpu = rng.random() < 1 / 3
    return {
        "device": "cuda" if has_gpu else "cpu",
        "memory_gb": float(rng.choice([8, 12, 24] if has_gpu else [16, 32])),
        "step_s": _rounded(_log_uniform(rng, 0.3, 1) if has_gpu else _log_uniform(rng, 2, 8)),
        "uplink_kbps": _rounded(_log_uniform(rng, 50e3, 1e6)),
        "downlink_kbps": _rounded(_log_uniform(rng, 50e3, 1e6)),
        "latency_s": _rounded(rng.uniform(0.001, 0.005)),
        "availability": _rounded(rng.uniform(0.4, 0.8)),
        "mean_on_s": 2 * _HOUR_S,
        "failure_rate": 0.1,
        "data_share": _rounded(rng.uniform(0.3, 1.0)),
    }


KINDS: Mapping[str, Draw] = {
    "campus": desktop,
    "hospitals": hospital,
    "phones": phone,
    "robots": robot,
}


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low * (high / low) ** rng.random())


def _rounded(value: float) -> float:
    """Three digits are enough to read, and all that a guess is worth."""
    return float(f"{value:.3g}")


def _key(seed: int, kind: str) -> int:
    return (seed << 32) | zlib.crc32(kind.encode())
