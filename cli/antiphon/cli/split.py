"""`antiphon split`: a simulation's shares as files, one for each client's machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from antiphon.client.data.rows import load_rows
from antiphon.core import registry
from antiphon.core.config import load
from antiphon.core.errors import DataError, RunFolderError
from antiphon.core.files import written_whole
from antiphon.core.json_text import json_text
from antiphon.simulation.split import prepare, share_out, split_table


def split_run(path: Path, overrides: Sequence[str], out: Path, console: Console) -> None:
    """Write `out`/<client>.jsonl for every client of a run: its rows as a simulation shares them out.

    The filter is applied, the hold-out is not: a daemon that is given the file makes the same
    training and evaluation examples of it. Raises RunFolderError where `out` exists, DataError where the
    rows do not suffice or a client's name cannot be a file's.
    """
    if out.exists():
        raise RunFolderError(f"{out} exists already: give --out a folder that does not")
    config = load(path, overrides)
    data = config.data
    form = registry.build("format", data.format.kind, data.format.arguments)
    partition = registry.build("partition", data.partition.kind, data.partition.arguments)
    rows = load_rows(data.dataset, form, on_bad_rows=data.on_bad_rows, wanted=data.filter)
    clients = prepare(rows, partition, data, config.seed)
    shares = share_out(rows, partition, data, config.seed)
    _check_names(shares)
    with written_whole(out) as part:
        part.mkdir()
        for name, share in shares.items():
            _write_rows(part / f"{name}.jsonl", (rows.values[index] for index in share))
    console.print(split_table(clients, rows.labels))


def _check_names(names: Iterable[str]) -> None:
    # A colon has no place in a name on Windows; a leading dot would hide the file.
    bad = [name for name in names if name.startswith(".") or set(name) & set("/\\:\0")]
    if bad:
        raise DataError(
            f"the client {bad[0]!r} cannot have a file of its name: share out by another field, or "
            "rename that value in the data"
        )


def _write_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with file.open("w", encoding="ascii") as out:
        out.writelines(json_text(row) + "\n" for row in rows)
