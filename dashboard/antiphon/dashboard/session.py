"""What one open browser page has chosen, and what all of them share."""

from __future__ import annotations

import streamlit as st

from antiphon.core.run_folder import RunFolder
from antiphon.dashboard.options import Options
from antiphon.dashboard.plain_text import escaped, shown
from antiphon.dashboard.runs_list import RunLine, RunsList
from antiphon.dashboard.shelf import Shelf

EVERY_S = 2.0
"""How often an open page looks whether its journal has grown."""

_RUN, _BOX = "run", "run_box"


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """Return the journals that are open, one shelf for all pages."""
    return Shelf()


@st.cache_resource(show_spinner=False)
def runs_list() -> RunsList:
    """Return the summaries of the runs, one list for all pages."""
    return RunsList()


def remember(name: str) -> None:
    """Choose a run from now on, on every page."""
    st.session_state[_RUN] = name
    st.session_state.pop(_BOX, None)


def chosen_run(options: Options, lines: tuple[RunLine, ...]) -> RunFolder | None:
    """Let the user choose a run; the choice stays while runs come and go, and is in the address.

    Returns none, and says why, where the chosen run is not there (any more), or none is.
    """
    names = [each.name for each in lines]
    wanted = st.session_state.get(_RUN) or st.query_params.get("run") or next(iter(names), "")
    if not wanted:
        st.info(f"No run in {escaped(options.runs)} yet. This page shows one as soon as it begins.")
        return None
    choices = names if wanted in names else [wanted, *names]
    if st.session_state.get(_BOX) not in choices:
        st.session_state[_BOX] = wanted
    name = st.selectbox("Run", choices, key=_BOX, format_func=shown, width=420)
    st.session_state[_RUN] = st.query_params["run"] = name
    if name not in names:
        st.warning(
            f"The run {escaped(name)} is not in {escaped(options.runs)}: its folder was moved or "
            "removed. Choose another one."
        )
        return None
    return RunFolder(options.runs / name)
