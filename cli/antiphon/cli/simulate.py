"""`antiphon simulate`: read, show the split, run with progress bars, say where the result is."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from antiphon.cli.ending import tell_ending
from antiphon.core.config import load
from antiphon.core.journal import Journal
from antiphon.core.run_folder import RunFolder
from antiphon.server.machine.round import replay
from antiphon.server.machine.waiting import why_waiting
from antiphon.simulation.monitor import Monitor
from antiphon.simulation.progress import TerminalMonitor
from antiphon.simulation.run import simulate
from antiphon.simulation.shares import Split, load_split
from antiphon.simulation.split import split_table


def run_simulation(
    path: Path,
    overrides: Sequence[str],
    *,
    resume: bool,
    from_round: int | None = None,
    console: Console,
) -> dict[str, Any]:
    """Run the config; return its report. An interruption says how to go on and exits with 130."""
    config = load(path, overrides)
    split = load_split(config)
    _show_split(console, split)
    folders: list[RunFolder] = []

    def begun(folder: RunFolder) -> None:
        folders.append(folder)
        # All that is loaded stays to the end; without this, garbage is looked for among it again and again.
        gc.freeze()

    def monitor_for(clients: int) -> AbstractContextManager[Monitor]:
        return TerminalMonitor(console, config, clients)

    try:
        folder = simulate(
            config,
            split,
            resume=resume,
            from_round=from_round,
            monitor_for=monitor_for,
            on_folder=begun,
        )
    except KeyboardInterrupt:
        raise SystemExit(_interrupted(console, path, overrides, folders)) from None
    return tell_ending(console, folder)


def _show_split(console: Console, split: Split) -> None:
    console.print(split_table(split.clients, split.labels))
    if split.skipped:
        console.print(
            f"[yellow]{len(split.skipped)} broken rows skipped, the first: {escape(split.skipped[0])}"
        )


def _interrupted(
    console: Console, path: Path, overrides: Sequence[str], folders: Sequence[RunFolder]
) -> int:
    if folders and folders[0].is_complete():
        console.print("\ninterrupted: the run is complete, its report may be missing. To make it:")
        command = shlex.join(["antiphon", "report", str(folders[0].path)])
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)
    elif folders:
        command = shlex.join(["antiphon", "simulate", str(path), *overrides, "--resume"])
        console.print(f"\ninterrupted: {escape(_where(folders[0]))}.", soft_wrap=True)
        console.print(f"What is done is kept in {escape(str(folders[0].path))}. To go on:")
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)
    else:
        console.print("\ninterrupted before the first round; nothing was written.")
    return 130


def _where(folder: RunFolder) -> str:
    """Say in one sentence what the run was at."""
    if not folder.journal_file.exists():
        return "before the first round"
    with Journal.reading(folder.journal_file) as journal:
        entries = list(journal.read())
    state = replay((entry.event, entry.at_s) for entry in entries)
    return why_waiting(state, entries[-1].at_s if entries else 0.0)
