"""Adapters that short runs end with, as hashes: a change of the house must not change its arithmetic.

    python -m tests.golden.adapters    print what all of them end with, as JSON (minutes on the real model)

Protections are off, so that the hashes are of training, wire and fold alone. Bits depend on the vector
instructions of a processor, so the file names them; norms hold anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.numpy import load_file
from threadpoolctl import threadpool_info

from antiphon.core.config import validate
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import load_split

ROOT = Path(__file__).parent.parent.parent
FILE = Path(__file__).with_suffix(".json")

_SHORT: Mapping[str, Any] = {
    "rounds": 2,
    "protection": [],
    "data": {"eval_examples": 20, "max_train_examples": 40},
    "training": {"max_steps": 2},
    "engine": {"threads": 1},
}
_ADAPTER_SEEDS = {"space": "adapter", "max_steps": 10, "num_seeds": 64, "learning_rate": 1e-3}
_CODED = {"compression": {"uplink": {"kind": "ecdq", "bits": 1.0}, "downlink": "int8"}}
_CUT = {"rounds": 1, "engine": {"threads": 2}}

TINY: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "lora": ("tiny", {}),
    "lora, coded": ("tiny", _CODED),
    "lora, momentum": ("tiny", {"server_opt": "momentum", "aggregation": "factors"}),
    "seeds": ("tiny", {"method": "seeds", "seeds": {"max_steps": 3}}),
    "seeds, pro": ("tiny", {"method": "seeds", "seeds": {"max_steps": 3, "sampling": "pro"}}),
    "seeds, adapter": ("tiny", {"method": "seeds", "seeds": _ADAPTER_SEEDS}),
    "mixed": ("tiny", {"method": "mixed", "mixed": {"seeds": ["meadow"]}, "seeds": _ADAPTER_SEEDS}),
}
"""By name: the example that a run is made from, and what differs."""

MODEL: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "lora, real model": ("lora", {**_CUT, "training": {"max_steps": 2}}),
    "seeds, real model": ("seeds", {**_CUT, "seeds": {"max_steps": 3}}),
}


@dataclass(frozen=True)
class Golden:
    """What a run ends with: the SHA-256 of its adapter's file, and the L2 norm of all its numbers."""

    sha256: str
    norm: float


def instructions() -> str:
    """Return what the bits of a run depend on: torch's version, the vector instructions that it uses, and
    which kernels numpy's BLAS has chosen.
    """
    kernels = {each["architecture"] for each in threadpool_info() if "architecture" in each}
    version, vectors = torch.__version__.split("+")[0], torch.backends.cpu.get_cpu_capability()
    return ", ".join([f"torch {version}", vectors, *sorted(kernels)])


def values_of(example: str, differs: Mapping[str, Any], runs: Path) -> dict[str, Any]:
    """Return a short run's config as plain values. runs: the folder that its run folder is made in."""
    values: dict[str, Any] = yaml.safe_load((ROOT / "examples" / f"{example}.yaml").read_text())
    here: Mapping[str, Any] = {"output": {"runs_dir": str(runs)}}
    for changes in (_SHORT, differs, here):
        for key, change in changes.items():
            old = values.get(key)
            values[key] = {**old, **change} if isinstance(old, dict) else change
    return values


def ending(example: str, differs: Mapping[str, Any], runs: Path) -> Golden:
    """Run a config here; return what it ends with."""
    config = validate(values_of(example, differs, runs))
    folder = simulate(config, load_split(config))
    file = folder.adapter(config.rounds) / "adapter_model.safetensors"
    squares = [np.sum(np.square(each, dtype=np.float64)) for each in load_file(file).values()]
    return Golden(sha256(file.read_bytes()).hexdigest(), float(f"{np.sqrt(sum(squares)):.8g}"))


def _main() -> None:
    with TemporaryDirectory() as folder:
        endings = {
            name: asdict(ending(*run, Path(folder) / str(n)))
            for n, (name, run) in enumerate({**TINY, **MODEL}.items())
        }
    print(json.dumps({"instructions": instructions(), "endings": endings}, indent=1))


if __name__ == "__main__":
    _main()
