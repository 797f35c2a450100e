"""`antiphon report`: a run's report and pictures, made again from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from antiphon.cli.ending import tell_ending
from antiphon.core.run_folder import RunFolder
from antiphon.server.report.report import write


def make_report(run: Path, console: Console) -> dict[str, Any]:
    """Write the report of a run, also of one that is not over; return it. Raises RunFolderError."""
    folder = RunFolder(run)
    report = write(folder)
    if report["reason"] is None:
        where = escape(f"the run in {folder.path} is not over: this is its report until now")
        console.print(where, highlight=False, soft_wrap=True)
    return tell_ending(console, folder)
