"""`antiphon flower new`: a run as a small app that Flower's command line takes to a SuperLink."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from antiphon.core.config import load
from antiphon.core.errors import RunFolderError
from antiphon.core.files import written_whole
from antiphon.simulation.flower import app as flower_app

FILES = ("pyproject.toml", "server_app.py", "client_app.py", "run.yaml")


def new_app(folder: Path, config: Path | None, console: Console) -> None:
    """Write the app; config: the run's YAML, none: one of the tiny model.

    Raises RunFolderError where the folder exists, ConfigError where the config is no valid run.
    """
    if folder.exists():
        raise RunFolderError(f"{folder} exists already: give a folder that does not")
    contents = {name: (resources.files(flower_app) / name).read_text() for name in FILES}
    if config is not None:
        load(config)
        contents["run.yaml"] = config.read_text(encoding="utf-8")
    with written_whole(folder, private=False) as part:
        part.mkdir()
        for name, content in contents.items():
            (part / name).write_text(content, encoding="utf-8")
    console.print(f"written: {escape(str(folder))}. With a SuperLink and its nodes running:")
    console.print(f"  flwr run {escape(str(folder))} SUPERLINK --stream", highlight=False)
