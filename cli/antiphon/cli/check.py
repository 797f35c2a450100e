"""`antiphon check`: is this a valid run, what will it do, what will it cost?"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from antiphon.client.estimate import Estimate, estimate
from antiphon.core.config import config_hash, load, resolved


def check_config(path: Path, overrides: Sequence[str], *, as_json: bool, console: Console) -> None:
    """Validate, print the resolved config on stdout and the estimate on stderr."""
    config = load(path, overrides)
    values = resolved(config)
    costs = estimate(config)
    if as_json:
        whole = {"config": values, "hash": config_hash(config)}
        sys.stdout.write(json.dumps({**whole, "estimate": dataclasses.asdict(costs)}) + "\n")
        return
    sys.stdout.write(f"# config hash: {config_hash(config)}\n")
    sys.stdout.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    console.print(_said(costs), highlight=False)


def _said(costs: Estimate) -> str:
    return (
        f"[bold]valid.[/] The model has {costs.model_parameters / 1e6:.1f} M parameters, the run trains "
        f"{costs.trained_parameters / 1e6:.2f} M.\nPer client and round: about "
        f"{costs.bytes_up / 1e3:.1f} kB up, at most {costs.bytes_down / 1e3:.1f} kB down. Memory of a "
        f"client: {costs.memory_bytes / 1e6:.0f} MB and its activations."
    )
