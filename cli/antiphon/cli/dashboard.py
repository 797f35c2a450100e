"""`antiphon dashboard`: Streamlit on a folder of runs, for this machine only unless told otherwise."""

from __future__ import annotations

import ipaddress
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from antiphon.core.errors import UserError
from antiphon.dashboard.options import arguments_of

_SETTINGS = {
    "server.headless": "true",  # it asks no question and opens no browser
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "type",  # a defect of ours must not show the machine's paths
}


def show_dashboard(
    runs: Path, home: Path | None, host: str, port: int, console: Console
) -> NoReturn:
    """Replace this process by the dashboard's server. Raises UserError where Streamlit is missing."""
    if find_spec("streamlit") is None:
        raise UserError("the dashboard needs streamlit: pip install 'antiphon[dashboard]'")
    if not is_loopback(host):
        console.print(
            f"[bold yellow]warning:[/] the dashboard has no password: everybody who reaches {escape(host)}"
            f":{port} sees the runs, the names of the clients and why they failed. Prefer the default "
            "host and a tunnel: ssh -L 8501:127.0.0.1:8501 COORDINATOR",
            soft_wrap=True,
        )
    console.print(f"dashboard of {escape(str(runs))}: http://{host}:{port}", soft_wrap=True)
    os.execv(sys.executable, command_line(runs, home, host, port))


def command_line(runs: Path, home: Path | None, host: str, port: int) -> list[str]:
    """Return the command that serves the dashboard."""
    found = find_spec("antiphon.dashboard.app")
    if found is None or found.origin is None:
        raise UserError("the dashboard is not installed: pip install 'antiphon[dashboard]'")
    settings = {**_SETTINGS, "server.address": host, "server.port": str(port)}
    flags = [each for name, value in settings.items() for each in (f"--{name}", value)]
    streamlit = [sys.executable, "-m", "streamlit", "run", found.origin, *flags]
    return [*streamlit, "--", *arguments_of(runs, home)]


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches a host that is listened on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
