"""The tables of a run's page. Text of others stands in cells, which read no Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from antiphon.core.types import Plain
from antiphon.dashboard.gantt import MOST_NAMED, SLOW, Span
from antiphon.dashboard.learning import Curve
from antiphon.dashboard.plain_text import escaped, shown
from antiphon.dashboard.run_view import RoundView, RunView

MOST_PROBLEMS = 500
MOST_SAID = 12
"""Clients that are named in a caption."""

ROUND_COLUMNS = {
    "loss": st.column_config.NumberColumn(format="%.4f"),
    "accuracy": st.column_config.NumberColumn(format="percent"),
    "up": st.column_config.NumberColumn(format="bytes", help="Bytes to the coordinator"),
    "down": st.column_config.NumberColumn(format="bytes", help="Bytes to the clients"),
    "saving": st.column_config.NumberColumn(
        format="%.1f ×", help="Training in dense float32 would have moved so many times the bytes"
    ),
    "seconds": st.column_config.NumberColumn(format="%.1f"),
    "aggregation error": st.column_config.NumberColumn(format="%.2g"),
}
PROBLEM_COLUMNS = {
    "round": st.column_config.NumberColumn(width="small"),
    "client": st.column_config.TextColumn(width="small"),
    "what": st.column_config.TextColumn(width="small"),
    "reason": st.column_config.TextColumn(width="large"),
}


def rounds(view: RunView) -> pd.DataFrame:
    """Return a row for each round, the newest first."""
    scores = {each.measure: _by_round(each) for each in view.means}
    numbers = sorted(view.rounds, reverse=True)
    found = [view.rounds[number] for number in numbers]
    return pd.DataFrame(
        {
            "round": numbers,
            "outcome": [each.outcome for each in found],
            "loss": [scores["loss"].get(number) for number in numbers],
            "accuracy": [scores["accuracy"].get(number) for number in numbers],
            "updates": [f"{each.accepted} of {len(each.planned.cohort)}" for each in found],
            "rejected": [each.rejected for each in found],
            "up": [each.sums.up for each in found],
            "down": [each.sums.down for each in found],
            "saving": [_saving(each.sums.training, each.sums.dense) for each in found],
            "seconds": [each.seconds for each in found],
            "held back": [", ".join(map(shown, each.held_back)) for each in found],
            **_folds(found),
            "reason": [shown(each.planned.reason) for each in found],
        }
    )


def _folds(found: Sequence[RoundView]) -> dict[str, list[float | None]]:
    """Return a column for each number that the stages of the fold have reported, by its plain name."""
    names = dict.fromkeys(["aggregation_error", *sorted({n for each in found for n in each.fold})])
    return {shown(n).replace("_", " "): [each.fold.get(n) for each in found] for n in names}


def plan(asked: Mapping[str, Mapping[str, Plain]]) -> pd.DataFrame:
    """Return a row for each client of a plan: what it is asked to do. What nobody is asked is left out."""
    names = list(dict.fromkeys(key for task in asked.values() for key in task))
    used = [name for name in names if any(task.get(name) is not None for task in asked.values())]
    rows = [
        {"client": shown(client), **{shown(name): _cell(task.get(name)) for name in used}}
        for client, task in asked.items()
    ]
    return pd.DataFrame(rows)


def problems(view: RunView) -> pd.DataFrame:
    """Return what went wrong, the newest first."""
    newest = view.problems[: -MOST_PROBLEMS - 1 : -1]
    return pd.DataFrame(
        {
            "round": [each["round"] for each in newest],
            "client": [shown(each["client"] or "") for each in newest],
            "what": [each["what"] for each in newest],
            "reason": [shown(each["reason"]) for each in newest],
        }
    )


def round_caption(spans: Sequence[Span], quorum: int) -> str:
    """Return how many updates are there, and who is slow, as Markdown; that nobody worked, if so."""
    if not any(each.end_s > each.start_s for each in spans):
        said = [f"{escaped(each.client)}: {_how(each)}" for each in spans[:MOST_SAID]]
        more = f"; and {len(spans) - MOST_SAID} more" if len(spans) > MOST_SAID else ""
        return f"No time passed in this round. {'; '.join(said)}{more}".strip()
    ended = Counter(each.ending for each in spans)
    slow = sum(each.slow for each in spans)
    said = [f"{count} {ending}" for ending, count in ended.most_common()]
    said += [f"{slow} slower than {SLOW:g} × the median" if slow else "", f"quorum {quorum}"]
    named = len({each.client for each in spans}) <= MOST_NAMED
    marks = named and any(each.model_s is not None for each in spans)
    said.append("the grey mark is when the client has the model" if marks else "")
    return ", ".join(each for each in said if each)


def _how(span: Span) -> str:
    return f"{span.ending}, {escaped(span.reason)}" if span.reason else span.ending


def _cell(value: Plain) -> Plain:
    return shown(value) if isinstance(value, str) else value


def _by_round(curve: Curve) -> dict[int, float]:
    return dict(zip(curve.rounds, curve.values, strict=True))


def _saving(moved: int | None, dense: int | None) -> float | None:
    return dense / moved if moved and dense is not None else None
