"""A simulated federation's data: rows shared out, held-out parts set aside, and a picture of it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

from antiphon.client.data.clients import ClientExamples, hold_out
from antiphon.client.data.examples import Example
from antiphon.client.data.rows import Rows
from antiphon.core.errors import DataError
from antiphon.core.files import written_whole
from antiphon.core.run_sections import DataConfig
from antiphon.simulation.partition import Partition, Shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NAMED = 100
"""Clients that have a row of their own in a table, and whose names still fit under their bars."""
_WIDE_IN = 12.0


def share_out(rows: Rows, partition: Partition, data: DataConfig, seed: int) -> Shares:
    """Return the rows of each client, sorted, by its name; everything random follows from `seed`.

    Raises DataError where a client has none.
    """
    rng = np.random.Generator(np.random.Philox([seed, zlib.crc32(b"partition")]))
    shares = partition.split(rows, data.clients, rng)
    empty = [name for name, share in shares.items() if not share]
    if empty:
        raise DataError(f"the partition gave {', '.join(empty)} no rows: lower data.clients")
    return shares


def prepare(
    rows: Rows, partition: Partition, data: DataConfig, seed: int
) -> tuple[ClientExamples, ...]:
    """Share the rows out and hold out each client's evaluation examples; clients in order of name.

    Everything random follows from `seed`. Raises DataError where a client has too few rows.
    """
    shares = share_out(rows, partition, data, seed)
    return tuple(
        hold_out(
            name,
            [rows.examples[index] for index in shares[name]],
            eval_examples=data.eval_examples,
            max_train_examples=data.max_train_examples,
            seed=seed,
        )
        for name in sorted(shares)
    )


def split_table(clients: Sequence[ClientExamples], labels: Sequence[str] = ()) -> Table:
    """Tabulate the split: examples, shares of the labels, mean length in characters.

    labels: names of the labels, in the order of the examples' choices; without, the choices
    themselves. Of very many clients the first are shown, and how many follow.
    """
    names = _label_names(clients, labels)
    table = Table(title="Data of the clients")
    table.add_column("client")
    for column in ("train", "eval", *names, "mean length"):
        table.add_column(escape(column), justify="right")
    for client in clients[:_MOST_NAMED]:
        examples = [*client.train, *client.evaluation]
        counts = _label_counts(examples, len(names))
        shares = [f"{count / len(examples):.0%}" for count in counts]
        length = sum(example.characters for example in examples) / len(examples)
        sizes = (str(len(client.train)), str(len(client.evaluation)))
        table.add_row(escape(client.name), *sizes, *shares, f"{length:.0f} chars")
    if len(clients) > _MOST_NAMED:
        table.caption = f"and {len(clients) - _MOST_NAMED:,} more"
    return table


def draw_split(clients: Sequence[ClientExamples], path: Path, labels: Sequence[str] = ()) -> None:
    """Draw the clients' examples as bars, stacked by label where there are labels.

    The suffix of `path` (.png or .svg) chooses the format; the file appears whole.
    """
    figure = _figure(clients, _label_names(clients, labels))
    with written_whole(path) as part:
        # A fixed salt and no date make the same split the same file.
        stamp = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(part, format=path.suffix.lstrip("."), metadata=stamp, dpi=120)


def _figure(clients: Sequence[ClientExamples], names: Sequence[str]) -> Figure:
    # Imported here: who only reads or checks draws nothing, and it takes half a second.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    named = len(clients) <= _MOST_NAMED
    width_in = 1.5 + 0.5 * len(clients) if named else _WIDE_IN
    figure = Figure(figsize=(max(4.0, width_in), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    edges = np.arange(len(clients) + 1) - 0.5
    bottom = np.zeros(len(clients))
    for name, heights in _layers(clients, names).items():
        if named:
            axes.bar(range(len(clients)), heights, bottom=bottom, label=name)
        else:  # thousands of bars would take longer than a small run
            axes.stairs(bottom + heights, edges, baseline=bottom, fill=True, label=name)
        bottom = bottom + heights
    if named:
        names_of = [client.name for client in clients]
        axes.set_xticks(range(len(clients)), names_of, rotation=45, ha="right")
    axes.set_ylabel("examples")
    axes.set_title("Data of the clients")
    axes.legend(loc="upper right")
    return figure


def _layers(clients: Sequence[ClientExamples], names: Sequence[str]) -> dict[str, list[int]]:
    if not names:
        train = [len(client.train) for client in clients]
        return {"train": train, "eval": [len(client.evaluation) for client in clients]}
    counts = [_label_counts([*each.train, *each.evaluation], len(names)) for each in clients]
    return {name: [row[at] for row in counts] for at, name in enumerate(names)}


def _label_names(clients: Sequence[ClientExamples], labels: Sequence[str]) -> tuple[str, ...]:
    examples = [example for each in clients for example in (*each.train, *each.evaluation)]
    choices = {example.choices for example in examples}
    # Options that differ from example to example are answers, not classes.
    if len(choices) != 1 or not (shared := choices.pop()):
        return ()
    return tuple(labels) if len(labels) == len(shared) else tuple(each.strip() for each in shared)


def _label_counts(examples: Sequence[Example], labels: int) -> list[int]:
    counts = Counter(example.label for example in examples)
    return [counts[label] for label in range(labels)]
