"""`antiphon fleet`: draw a simulated fleet, record one from a run, look at one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from antiphon.core.errors import ConfigError
from antiphon.core.files import write_text
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.simulation.fleet_file import ClientGroup, fleet_text, read_fleet
from antiphon.simulation.fleets import KINDS, generate
from antiphon.simulation.recorded_fleet import recorded

_MOST_ROWS = 50
_NUMBERS = {
    "memory_gb": "memory\nGB",
    "step_s": "step\ns",
    "tokens_per_s": "tokens\n/s",
    "downlink_kbps": "down\nkbit/s",
    "uplink_kbps": "up\nkbit/s",
    "latency_s": "latency\ns",
    "on_line": "on line",
    "mean_on_s": "mean on\ns",
    "failure_rate": "fails",
    "data_share": "data",
}


def new_fleet(kind: str, clients: int, seed: int, out: Path, console: Console) -> None:
    """Write a drawn fleet. Raises ConfigError for an unknown kind, or where `out` exists."""
    if kind not in KINDS:
        raise ConfigError(f"no fleet {kind!r}: expected one of {', '.join(KINDS)}")
    if out.exists():
        raise ConfigError(f"{out} exists already: give a file that does not")
    command = f"antiphon fleet new {kind} --clients {clients} --seed {seed}"
    write_text(out, fleet_text(generate(kind, clients, seed), f"{command}\nKeys: docs/fleets.md"))
    console.print(f"written: {escape(str(out))}", soft_wrap=True)


def record_fleet(run: Path, out: Path, console: Console) -> None:
    """Write the fleet that a run has met. Raises RunFolderError, or ConfigError where `out` exists."""
    if out.exists():
        raise ConfigError(f"{out} exists already: give a file that does not")
    with Journal.reading(RunFolder(run).journal_file) as journal:
        entries = recorded(journal.read())
    comment = f"antiphon fleet record {run.name}\nKeys: docs/fleets.md"
    write_text(out, fleet_text(entries, comment))
    console.print(f"written: {escape(str(out))}", soft_wrap=True)
    console.print(f"It is of {len(entries)} clients: give it runs whose clients have their names.")


def show_fleet(file: Path, console: Console) -> None:
    """Print a fleet file's entries, and what its clients come to. Raises ConfigError."""
    entries = read_fleet(file)
    console.print(_rows(entries))
    if len(entries) > _MOST_ROWS:
        console.print(f"and {len(entries) - _MOST_ROWS} more entries")
    if len(entries) > 1:
        console.print(_summary(entries))


def _rows(entries: Sequence[ClientGroup]) -> Table:
    told = [key for key in _NUMBERS if any(getattr(each, key) is not None for each in entries)]
    shown = [key for key in told if key != "mean_on_s"]
    table = Table(title="Fleet", box=None, padding=(0, 1, 0, 0))
    for column in ("clients", "device", *(_NUMBERS[key] for key in shown), "liar"):
        side: Literal["left", "right"] = "left" if column in ("clients", "device") else "right"
        table.add_column(column, justify=side, no_wrap=column not in ("clients", "liar"))
    for each in entries[:_MOST_ROWS]:
        number = "all left" if each.count is None else str(each.count)
        name = f"{number} × {each.name}" if each.name != "*" or each.count is None else number
        numbers = (_said(getattr(each, key)) for key in shown)
        table.add_row(escape(name), each.device, *numbers, "" if each.liar == "none" else each.liar)
    return table


def _summary(entries: Sequence[ClientGroup]) -> Table:
    table = Table(title="Over the clients", box=None)
    for column in ("", "least", "median", "most"):
        table.add_column(column, justify="left" if not column else "right")
    for key, title in _NUMBERS.items():
        given = [v for each in entries for v in [getattr(each, key)] * (each.count or 1)]
        told = [value for value in given if value is not None]
        if told:
            least, middle, most = min(told), statistics.median(told), max(told)
            table.add_row(title.replace("\n", ", "), _said(least), _said(middle), _said(most))
    return table


def _said(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
