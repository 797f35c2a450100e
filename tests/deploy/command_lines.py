"""Every `antiphon …` that deploy/ and docs/operations.md tell a machine or a person to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deploy.files import (
    DOCKERFILES,
    PAGE,
    SCRIPT,
    UNITS,
    compose,
    containers,
    image_command,
    pods,
    unit_values,
)

Line = tuple[str, list[str]]
"""Where it stands, and the words after `antiphon`."""

_SHELL = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# The image's entry point is `antiphon`: compose's `run SERVICE` is followed by its arguments.
_RUN = re.compile(r"docker compose (?:--\S+ \S+ )*run (?:--\S+ )*coordinator (.*)")
_IMAGES = {"coordinator": "coordinator", "dashboard": "coordinator"}


def every_line() -> list[Line]:
    """Return all of them."""
    return [
        *_in_images(),
        *_in_compose(),
        *_in_units(),
        *_in_pods(),
        *_in_shell("enrol-and-run", SCRIPT.read_text(encoding="utf-8")),
        *_in_page(),
    ]


def _in_images() -> Iterator[Line]:
    for path in DOCKERFILES:
        entry, command = image_command(path)
        yield path.name, [*entry, *command][1:]


def _in_compose() -> Iterator[Line]:
    for name, service in compose()["services"].items():
        yield (
            f"compose {name}",
            _words(service, "entrypoint", "command", _IMAGES.get(name, "client")),
        )


def _in_units() -> Iterator[Line]:
    for path in UNITS:
        for line in unit_values(path, "ExecStart"):
            yield path.name, shlex.split(line)[1:]


def _in_pods() -> Iterator[Line]:
    for name, pod in pods().items():
        for each in containers(pod):
            where = f"kubernetes {name}/{each['name']}"
            if each.get("command", [""])[0] == "sh":
                yield from _in_shell(where, each["command"][-1])
            else:
                yield where, _words(each, "command", "args", _IMAGES.get(name, "client"))


def _words(given: dict[str, Any], entry_key: str, command_key: str, image: str) -> list[str]:
    """Return what a container runs, as the words after `antiphon`."""
    (dockerfile,) = [path for path in DOCKERFILES if path.suffix == f".{image}"]
    entry, command = image_command(dockerfile)
    # Who replaces the entry point drops the image's command with it.
    command = given.get(command_key, [] if entry_key in given else command)
    words: list[str] = [*given.get(entry_key, entry), *command]
    return ["client", *words[1:]] if words[0] == "enrol-and-run" else words[1:]


def _in_page() -> Iterator[Line]:
    for block in _SHELL.findall(PAGE.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            run = _RUN.search(line)
            yield from _in_shell("operations.md", f"antiphon {run[1]}" if run else line)


def _in_shell(where: str, text: str) -> Iterator[Line]:
    for line in text.splitlines():
        for command in _BETWEEN.split(line.strip()):
            program, *words = shlex.split(_BEFORE.sub("", command), comments=True) or [""]
            if Path(program).name == "antiphon":
                yield where, [word for word in words if word != "$@"]


_BETWEEN = re.compile(r"\s*(?:\|\||&&|\||;|>)\s*")
_BEFORE = re.compile(
    r"^(?:sudo -u \w+ |exec |\w+=\S* |kubectl .*? -- |docker compose (?:--\S+ \S+ )*exec \w+ )+"
)
