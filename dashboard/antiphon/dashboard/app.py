"""The dashboard: `antiphon dashboard` starts Streamlit on this file. It reads run folders and changes none.

Streamlit executes this file, and then that of the page which the address names, for each view.
"""

from __future__ import annotations

import streamlit as st


def main() -> None:
    """Draw the page that the address names."""
    # No icon: Streamlit would have the browser fetch one from a host of others.
    st.set_page_config(page_title="Antiphon", layout="wide")
    pages = [
        st.Page("runs_page.py", title="Runs", url_path="runs", default=True),
        st.Page("run_page.py", title="Run", url_path="run"),
        st.Page("fleet_page.py", title="Fleet", url_path="fleet"),
    ]
    st.navigation(pages, position="top").run()


if __name__ == "__main__":
    main()
