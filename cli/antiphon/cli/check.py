"""`antiphon check`: is this a valid run, are its rows what it says, what will it cost?"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from antiphon.client.data.advice import advice
from antiphon.client.data.clients import ClientData, encode_client
from antiphon.client.estimate import Estimate, estimate
from antiphon.client.language_model import load_tokenizer
from antiphon.core.config import RunConfig, config_hash, load, resolved
from antiphon.core.events import RunStopped
from antiphon.core.json_text import json_text
from antiphon.server.folding.space_file import write_space
from antiphon.simulation.first_round import first_round
from antiphon.simulation.fleet import fleet_of
from antiphon.simulation.shares import Split, load_split
from antiphon.simulation.split import split_table
from antiphon.simulation.surrogate import stood_for
from antiphon.strategies.methods.method import method_of


@dataclass(frozen=True)
class _Rows:
    """What the data is. advice: what is valid and probably not meant; first_round: in words."""

    split: Split
    advice: tuple[str, ...]
    first_round: str

    @property
    def values(self) -> dict[str, Any]:
        """For programs."""
        clients = {
            each.name: {"train": len(each.train), "evaluation": len(each.evaluation)}
            for each in self.split.clients
        }
        return {
            "clients": clients,
            "skipped_rows": len(self.split.skipped),
            "advice": list(self.advice),
            "first_round": self.first_round,
        }


def check_config(
    path: Path,
    overrides: Sequence[str],
    *,
    space_file: Path | None,
    as_json: bool,
    with_data: bool,
    console: Console,
) -> None:
    """Validate, print the resolved config on stdout and the estimate on stderr.

    with_data: read the rows as a simulation would, and tokenise them. Raises ConfigError, DataError and
    ModelError for what a run would stop at.
    space_file: where to write what the run trains, for `antiphon serve --space`; none: nowhere.
    """
    config = load(path, overrides)
    values = resolved(config)
    costs = estimate(config)
    if space_file is not None:
        from antiphon.client.shapes import space_for_clients

        write_space(space_file, space_for_clients(config))
        console.print(f"space: {escape(str(space_file))}", highlight=False, soft_wrap=True)
    rows = _read(config) if with_data else None
    if as_json:
        whole = {"config": values, "hash": config_hash(config), "data": rows and rows.values}
        sys.stdout.write(json_text({**whole, "estimate": dataclasses.asdict(costs)}) + "\n")
        return
    sys.stdout.write(f"# config hash: {config_hash(config)}\n")
    sys.stdout.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    if rows is not None:
        console.print(split_table(rows.split.clients, rows.split.labels))
        if rows.split.skipped:
            console.print(f"[yellow]{len(rows.split.skipped)} broken rows would be skipped.")
        for sentence in rows.advice:
            console.print(f"[yellow]{escape(sentence)}.", highlight=False, soft_wrap=True)
        console.print(f"Round 1: {escape(rows.first_round)}.", highlight=False, soft_wrap=True)
    console.print(_said(costs), highlight=False)


def _read(config: RunConfig) -> _Rows:
    split = load_split(config)
    if split.invented:
        clients = [stood_for(each) for each in split.clients]
        found: tuple[str, ...] = ()
    else:
        tokenizer = load_tokenizer(config.model.model_name_or_path)
        length = config.model.max_length
        clients = [encode_client(tokenizer, each, length) for each in split.clients]
        found = advice(clients, max_length=length, batch=method_of(config).most_examples)
    return _Rows(split, found, _first_round(config, split, clients))


def _first_round(config: RunConfig, split: Split, clients: Sequence[ClientData]) -> str:
    by_name = {each.name: each for each in clients}
    fleet = split.fleet or fleet_of(config, list(by_name))
    first = first_round(config, by_name, fleet)
    there = f"of {len(by_name)} clients {first.here} are there"
    there += f" after {first.at_s:.4g} s" if first.at_s else ""
    plan = first.plan
    if isinstance(plan, RunStopped):
        return f"{there}; {plan.reason}"
    return f"{there}; {plan.reason}; over after {plan.deadline_s:.4g} s at the latest"


def _said(costs: Estimate) -> str:
    up, down = costs.once_up / 1e3, costs.once_down / 1e3
    once = f" Once, before it trains: about {up:.1f} kB up, {down:.1f} kB down." if down else ""
    return (
        f"[bold]valid.[/] The model has {costs.model_parameters / 1e6:.1f} M parameters, the run trains "
        f"{costs.trained_parameters:,} numbers.\nPer client and round: about "
        f"{costs.bytes_up / 1e3:.1f} kB up, at most {costs.bytes_down / 1e3:.1f} kB down.{once} "
        f"Memory of a client: {costs.memory_bytes / 1e6:.0f} MB and its activations."
    )
