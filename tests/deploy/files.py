"""What the tests of deploy/ read: its files, as their programs would."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "operations.md"
DOCKERFILES = sorted((DEPLOY / "docker").glob("Dockerfile.*"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE_FILES = sorted(DEPLOY.glob("compose*.yaml"))
SCRIPT = DEPLOY / "docker" / "enrol-and-run"

Values = Mapping[str, Any]


def tool(name: str) -> str:
    """Return the path of a program of the dev extra; its absence is a failure, not a skip."""
    beside = Path(sys.executable).with_name(name)
    if not beside.exists():
        pytest.fail(f"{name} is missing beside {sys.executable}: pip install -e '.[dev]'")
    return str(beside)


def system_tool(name: str, package: str) -> str:
    """Return the path of a program of the system, likewise."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: apt-get install {package}")
    return found


def compose(path: Path = DEPLOY / "compose.yaml") -> dict[str, Any]:
    """Return a compose file with the defaults of its variables and its anchors put in."""
    text = re.sub(r"\$\{\w+(?::-([^}]*))?\}", lambda found: found[1] or "", path.read_text("utf-8"))
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every Kubernetes object with a name for it."""
    for path in MANIFESTS:
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield f"{path.name}:{each['kind']}/{each['metadata']['name']}", each


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Return the Kubernetes objects of a kind, by their names."""
    return {each["metadata"]["name"]: each for _, each in manifests() if each["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    """Return what Kubernetes runs: the specs of pods by the names of their workloads."""
    return {name: each["spec"]["template"]["spec"] for name, each in of_kind("StatefulSet").items()}


def containers(pod: Values) -> list[dict[str, Any]]:
    """Return a pod's containers, the initial ones too."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions in order: keyword, and the rest on one line."""
    lines = [
        line for line in dockerfile.read_text("utf-8").splitlines() if line[:1] not in ("#", "")
    ]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest.strip()) for word, _, rest in (e.partition(" ") for e in joined.split("\n"))
    ]


def last_stage(dockerfile: Path) -> dict[str, str]:
    """Return what holds at the end of a Dockerfile: the last of each instruction since the last FROM."""
    found: dict[str, str] = {}
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            found = {}
        found[word] = rest
    return found


def image_command(dockerfile: Path) -> tuple[list[str], list[str]]:
    """Return an image's ENTRYPOINT and CMD."""
    stage = last_stage(dockerfile)
    return json.loads(stage["ENTRYPOINT"]), json.loads(stage["CMD"])


def unit_values(unit: Path, key: str) -> list[str]:
    """Return what a unit sets a key to, in order."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
