"""Fuzz every decoder for a while and print a table: `python -m tests.fuzz.run --seconds 3600`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.fuzz.campaign import ENGINE, Outcome, fuzz
from tests.fuzz.effort import Effort
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Share the time out; exit with 1 where a defect was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of all decoders together")
    parser.add_argument("--only", nargs="*", choices=sorted(TARGETS), help="these decoders")
    parser.add_argument("--corpus", type=Path, help="keep the inputs found, and go on from them")
    arguments = parser.parse_args()
    names = arguments.only or list(TARGETS)
    each_s = max(1, arguments.seconds // len(names))
    outcomes = fuzz(names, Effort(seconds=each_s), corpora=arguments.corpus)
    for each in outcomes:
        if each.crash is not None:
            print(each.explained)
    Console(width=120).print(_table(outcomes))
    raise SystemExit(any(each.crash is not None for each in outcomes))


def _table(outcomes: Iterable[Outcome]) -> Table:
    table = Table(title=f"engine: {ENGINE}")
    for column in ("decoder", "executions", "executions/s", "crashes", "peak RSS"):
        table.add_column(column, justify="left" if column == "decoder" else "right")
    for each in outcomes:
        table.add_row(
            each.target,
            f"{each.executions:,}",
            f"{each.executions / each.seconds:,.0f}",
            str(int(each.crash is not None)),
            f"{each.peak_rss / 1e6:.0f} MB",
        )
    return table


if __name__ == "__main__":
    main()
