"""The page of all runs: one line each, and the way to each of them."""

from __future__ import annotations

import sys
import time

import pandas as pd
import streamlit as st

from antiphon.dashboard.options import Options, parsed
from antiphon.dashboard.plain_text import escaped, moment, shown
from antiphon.dashboard.runs_list import RunLine
from antiphon.dashboard.session import EVERY_S, remember, runs_list

_SHOWN = "runs_shown"
_COLUMNS = {
    "accuracy": st.column_config.NumberColumn(format="percent"),
    "loss": st.column_config.NumberColumn(format="%.4f"),
    "moved": st.column_config.NumberColumn(format="bytes", help="Bytes both ways"),
    "last activity": st.column_config.DatetimeColumn(format="distance"),
}


def show(options: Options) -> None:
    """Show the runs of the folder; a click on one opens its page."""
    st.title("Runs")

    @st.fragment(run_every=EVERY_S)
    def table() -> None:
        lines = runs_list().lines(options.runs, time.time())
        if not lines:
            st.info(
                f"No run in {escaped(options.runs)} yet. It is shown here as soon as it begins."
            )
            return
        event = st.dataframe(
            _table(lines),
            hide_index=True,
            column_config=_COLUMNS,
            on_select="rerun",
            selection_mode="single-cell",
            key="runs",
        )
        # A click is on the table as it was shown, and that order may have changed since.
        before = st.session_state.get(_SHOWN, [])
        st.session_state[_SHOWN] = [each.name for each in lines]
        for row, _ in event.selection.cells:
            if row < len(before):
                remember(before[row])
                st.switch_page("run_page.py")
        for each in lines:
            if each.error:
                st.error(f"{escaped(each.name)}: {escaped(each.error)}")

    table()


def _table(lines: tuple[RunLine, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": [shown(each.name) for each in lines],
            "state": [each.life for each in lines],
            "round": [f"{each.summary.round} of {each.summary.rounds or '?'}" for each in lines],
            "loss": [each.summary.final("loss") for each in lines],
            "accuracy": [each.summary.final("accuracy") for each in lines],
            "moved": [each.summary.bytes for each in lines],
            "last activity": [moment(each.changed_at) for each in lines],
        }
    )


if __name__ == "__main__":
    show(parsed(sys.argv[1:]))
