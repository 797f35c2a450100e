"""What one machine holds: every row of its own data set is one client's.

The same rows give the same examples as in a simulation where a client of this name has them as its
share: the hold-out follows from the run's seed and the client's name only.
"""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.client.data.clients import ClientExamples, hold_out, usual_hold_out
from antiphon.client.data.rows import load_rows
from antiphon.core import registry
from antiphon.core.run_sections import DataConfig


@dataclass(frozen=True)
class LocalData:
    """The client's examples; skipped: what was wrong with the rows that were passed over."""

    examples: ClientExamples
    skipped: tuple[str, ...]


def load_local(name: str, data: DataConfig, seed: int, *, held_out_said: bool = True) -> LocalData:
    """Read the rows of `data.dataset` and hold out the client's evaluation examples.

    held_out_said: hold out `data.eval_examples`; else the usual share of the rows.
    `data.partition` and `data.clients` are a simulation's and have no effect. Raises DataError where
    rows are missing, broken or too few, ConfigError for a format that does not exist.
    """
    form = registry.build("format", data.format.kind, data.format.arguments)
    rows = load_rows(data.dataset, form, on_bad_rows=data.on_bad_rows, wanted=data.filter)
    held = data.eval_examples if held_out_said else usual_hold_out(len(rows.examples))
    examples = hold_out(
        name,
        rows.examples,
        eval_examples=held,
        max_train_examples=data.max_train_examples,
        seed=seed,
    )
    return LocalData(examples, rows.skipped)
