"""`antiphon serve`: the coordinator of one run."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from antiphon.core.config import RunConfig, config_hash, load, resolved
from antiphon.core.coordinator_settings import CoordinatorSettings, load_settings
from antiphon.core.home import home_folder
from antiphon.core.journal import Journal
from antiphon.core.logs import configure_logs
from antiphon.core.run_folder import RunFolder, create, open_for_resume
from antiphon.server.actions import Finish
from antiphon.server.coordinator.serve import Coordinator, Listening
from antiphon.server.enrolment.fleet import open_fleet


def serve_run(
    path: Path,
    overrides: Sequence[str],
    *,
    home: Path | None,
    settings_file: Path | None,
    changes: dict[str, Any],
    resume: bool,
    console: Console,
) -> dict[str, Any] | None:
    """Serve a run to its end; return its report. None: stopped before, to be gone on with `--resume`.

    changes: settings given on the command line; they win over the file's.
    """
    config = load(path, overrides)

    def read_settings() -> CoordinatorSettings:
        return load_settings(settings_file).model_copy(update=changes)

    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format)
    fleet = open_fleet(home_folder(home, os.environ))
    try:
        folder = _folder(config, resume)
        with Journal.writing(folder.journal_file) as journal:
            coordinator = Coordinator(
                config,
                folder,
                journal,
                fleet,
                settings,
                read_settings=read_settings,
                on_listening=lambda where: _say_where(console, folder, settings, where),
            )
            finish: Finish | None = asyncio.run(coordinator.run())
    finally:
        fleet.close()
    if finish is None:
        console.print("stopped; the same command with --resume goes on", highlight=False)
        return None
    report: dict[str, Any] = json.loads(folder.report_json.read_text())
    return report


def _folder(config: RunConfig, resume: bool) -> RunFolder:
    place = Path(config.output.runs_dir).expanduser(), config.name
    values, hashed = resolved(config), config_hash(config)
    return (open_for_resume if resume else create)(*place, values, hashed)


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
