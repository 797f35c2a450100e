"""`antiphon serve`: the coordinator of one run."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from antiphon.cli.ending import tell_ending
from antiphon.core.config import config_hash, load
from antiphon.core.coordinator_settings import CoordinatorSettings, load_settings
from antiphon.core.home import home_folder
from antiphon.core.journal import Journal
from antiphon.core.logs import configure_logs
from antiphon.core.run_folder import RunFolder, find_newest
from antiphon.core.section import validated
from antiphon.server.coordinator.serve import Coordinator, Listening
from antiphon.server.enrolment.fleet import open_fleet
from antiphon.server.enrolment.occupancy import occupied
from antiphon.server.folding.space_file import read_space
from antiphon.server.machine.actions import Finish
from antiphon.server.run_begin import new_folder, resumed_folder, runs_dir

Beginning = Literal["new", "resumed", "either"]
"""A new run; the newest of its name; or the newest where there is one, and else a new one."""


def serve_run(
    path: Path,
    overrides: Sequence[str],
    *,
    home: Path | None,
    settings_file: Path | None,
    space_file: Path | None,
    changes: dict[str, Any],
    from_round: int | None = None,
    beginning: Beginning,
    console: Console,
) -> dict[str, Any]:
    """Serve a run to its end; return its report.

    Stopped before: say how to go on, and return where the run lies, with `stopped`. changes: settings
    given on the command line; they win over the file's. space_file: says what the run trains; none: its
    clients do; from_round: whose model a resumed run goes on with, where a newer one is damaged.
    """
    config = load(path, overrides)
    if beginning == "either":
        found = find_newest(runs_dir(config), config.name)
        if found is not None and found.is_complete() and found.config_hash() == config_hash(config):
            return _tell_complete(console, found)
        beginning = "new" if found is None else "resumed"

    read_settings = partial(_settings, settings_file, changes)
    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format)
    listening = False

    def on_listening(where: Listening) -> None:
        nonlocal listening
        listening = True
        _say_where(console, folder, settings, where)

    with (
        closing(open_fleet(home_folder(home, os.environ))) as fleet,
        occupied(fleet.folder) as note_run,
    ):
        folder = (resumed_folder if beginning == "resumed" else new_folder)(config)
        note_run(folder.path)
        try:
            with Journal.writing(folder.journal_file) as journal:
                coordinator = Coordinator(
                    config,
                    folder,
                    journal,
                    fleet,
                    settings,
                    space=read_space(space_file, config) if space_file else None,
                    from_round=from_round,
                    read_settings=read_settings,
                    on_listening=on_listening,
                )
                finish: Finish | None = asyncio.run(coordinator.run())
        finally:
            if beginning == "new" and not listening:
                shutil.rmtree(folder.path)  # a port that is taken, say: it leaves nothing behind
    if finish is None:
        given = {"home": home, "settings": settings_file, "space": space_file, **changes}
        _say_how_to_go_on(console, path, overrides, given)
        return {"complete": False, "stopped": True, "run_dir": str(folder.path.resolve())}
    return tell_ending(console, folder)


def _tell_complete(console: Console, found: RunFolder) -> dict[str, Any]:
    told = escape(f"the run in {found.path} is complete")
    console.print(told, highlight=False, soft_wrap=True)
    return tell_ending(console, found)


def _settings(file: Path | None, changes: dict[str, Any]) -> CoordinatorSettings:
    given = load_settings(file).model_dump()
    return validated(CoordinatorSettings, {**given, **changes}, "the settings")


def _say_how_to_go_on(
    console: Console, path: Path, overrides: Sequence[str], given: dict[str, Any]
) -> None:
    """Print the command that takes the run up again. given: flags by name, those that were left out too."""
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    command = shlex.join(["antiphon", "serve", str(path), *overrides, *flags, "--resume"])
    console.print(f"stopped; {escape(command)} goes on", highlight=False, soft_wrap=True)


def _say_where(
    console: Console, folder: RunFolder, settings: CoordinatorSettings, where: Listening
) -> None:
    host = settings.listen.rpartition(":")[0]
    lines = [f"run:     {folder.path}", f"clients: {host}:{where.coordinator} (mutual TLS)"]
    if where.enrolment is not None:
        lines.append(f"joining: {host}:{where.enrolment} (`antiphon token create` prints the line)")
    if where.metrics is not None:
        lines.append(f"metrics: http://127.0.0.1:{where.metrics}/metrics, /healthz, /status")
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)
