"""The page of a run's clients: their machines, what they do, what failed, how long they may stay."""

from __future__ import annotations

import sqlite3
import sys
import time

import pandas as pd
import streamlit as st

from antiphon.core.errors import RunFolderError
from antiphon.core.identity import IdentityError
from antiphon.core.run_folder import RunFolder
from antiphon.dashboard import fleet_tables
from antiphon.dashboard.fleet_view import members_of
from antiphon.dashboard.options import Options, parsed
from antiphon.dashboard.plain_text import escaped
from antiphon.dashboard.reading import stamp_of
from antiphon.dashboard.session import EVERY_S, chosen_run, runs_list, shelf
from antiphon.dashboard.standing import asked, life_of

_LEDGER_EVERY_S = 10.0


def show(options: Options) -> None:
    """Show the clients of the chosen run, and those of the fleet with their certificates."""
    st.title("Fleet")
    folder = chosen_run(options, runs_list().lines(options.runs, time.time()))
    if folder is not None:
        _clients(folder)
    _certificates(options)


def _clients(folder: RunFolder) -> None:
    @st.fragment(run_every=EVERY_S)
    def table() -> None:
        try:
            view = shelf().view(folder)
            if view is not None and view.apart:
                st.dataframe(fleet_tables.apart(view), hide_index=True, key="apart")
            if view is None or not view.clients:
                st.info("No client has joined this run yet.")
                return
        except RunFolderError as error:
            st.error(escaped(error))
            return
        now = time.time()
        life = life_of(folder, stamp_of(folder), view.end, now)
        live = asked(folder, view.run_id) if life == "running" else None
        st.caption(fleet_tables.who_is_here(view, life))
        rows = fleet_tables.clients(view, live, now, life=life)
        st.dataframe(rows, hide_index=True, column_config=fleet_tables.COLUMNS, key="clients")

    table()


def _certificates(options: Options) -> None:
    @st.fragment(run_every=_LEDGER_EVERY_S)
    def table() -> None:
        try:
            members = members_of(options.home)
        except (IdentityError, OSError, sqlite3.Error) as error:
            st.subheader("Certificates")
            st.error(escaped(error))
            return
        if members is None:
            return
        st.subheader("Certificates")
        warning = fleet_tables.expiry_warning(members, time.time())
        if warning:
            st.warning(warning)
        rows: pd.DataFrame = fleet_tables.members(members, time.time())
        st.dataframe(
            rows, hide_index=True, column_config=fleet_tables.MEMBER_COLUMNS, key="members"
        )

    table()


if __name__ == "__main__":
    show(parsed(sys.argv[1:]))
