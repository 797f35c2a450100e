"""How a run ended, in the words that its terminal shows last."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.markup import escape

from antiphon.core.events import BY_POLICY
from antiphon.core.run_folder import RunFolder
from antiphon.server.report.divergence import advice_of
from antiphon.server.report.report import read
from antiphon.server.report.report_page import bytes_said, times_less
from antiphon.server.report.report_types import Report


def tell_ending(console: Console, folder: RunFolder) -> dict[str, Any]:
    """Print why the run ended, what was learned and where it lies; return its report.

    Where the run has left none, it is made from the journal.
    """
    report = cast(dict[str, Any], read(folder))
    if report["reason"] is not None and not report["complete"]:
        console.print(f"[bold red]the run stopped:[/] {escape(report['reason'])}", highlight=False)
    elif (report["reason"] or "").startswith(BY_POLICY):
        console.print(f"[bold]complete[/]: {escape(report['reason'])}", highlight=False)
    initial, final = report["initial"], report["final"]
    for metric in ("accuracy", "exact_match", "loss"):
        if final and final.get(metric) is not None:
            before = initial[metric] if initial and initial.get(metric) is not None else None
            start = f"{before:.3f} → " if before is not None else ""
            console.print(
                f"[bold]{metric.replace('_', ' ')}[/]: {start}{final[metric]:.3f}", highlight=False
            )
    if moved := _moved(report):
        console.print(moved, highlight=False, soft_wrap=True)
    if advice := advice_of(cast(Report, report)):
        console.print(f"[yellow]{escape(advice)}", highlight=False, soft_wrap=True)
    console.print(
        f"report:  {escape(_from_here(folder.report_md))}", highlight=False, soft_wrap=True
    )
    if report["adapter"]:
        adapter = escape(_from_here(Path(report["adapter"])))
        console.print(f"adapter: {adapter}", highlight=False, soft_wrap=True)
    return report


def _moved(report: dict[str, Any]) -> str:
    """Return what the run has moved, beside what A and B of its rank would have; empty: not known."""
    told = report["bytes"]
    if told["up"] is None or told["down"] is None:
        return ""
    whole = told["up"] + told["down"]
    less = times_less(whole, told["adapter_float32"])
    beside = f", {less} A and B as float32" if less else ""
    return f"[bold]bytes[/]: {bytes_said(whole)} both ways{beside}"


def _from_here(path: Path) -> str:
    """Return a path as one would type it here: from the working folder where it lies below that."""
    whole, here = path.resolve(), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)
