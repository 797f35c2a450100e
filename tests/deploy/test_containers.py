"""The images and the compose file: valid, complete, and nothing runs as root."""

import re
import subprocess
import tomllib

import pytest
import yaml
from compose_spec import PyCompose
from tests.deploy.files import (
    COMPOSE_FILES,
    DEPLOY,
    DOCKERFILES,
    ROOT,
    SCRIPT,
    compose,
    instructions,
    last_stage,
    tool,
)

from antiphon.client.daemon import settings as client_settings
from antiphon.client.daemon.data_view import missing
from antiphon.core import coordinator_settings

SERVICES = compose()["services"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    """A Dockerfile passes hadolint, which checks the shell within it too."""
    ran = subprocess.run([tool("hadolint"), path], capture_output=True, text=True)

    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_does_not_run_as_root(path):
    """The last stage names its user by a number, which is not 0."""
    user, group = last_stage(path)["USER"].split(":")

    assert int(user) > 0
    assert int(group) > 0


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_has_every_source_root(path):
    """What the wheel is made of is copied, and .dockerignore lets it through."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    roots = project["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"]
    copied = " ".join(rest for word, rest in instructions(path) if word == "COPY").split()
    let_in = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)

    sources = [each for each in copied if each != "./" and (ROOT / each).exists()]

    assert {*roots, "constraints.txt", "pyproject.toml"} <= set(sources)
    assert [s for s in sources if not any(s == i or s.startswith(f"{i}/") for i in let_in)] == []


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_base_image_is_pinned(path):
    """The base image has a tag that names its Python and its system."""
    _, base = instructions(path)[0]

    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", base)


def test_the_coordinators_image_has_no_torch():
    """The coordinator's image installs the project without the client's libraries."""
    installed = [rest for word, rest in instructions(DEPLOY / "docker/Dockerfile.coordinator")]

    assert not [each for each in installed if "torch" in each or "client]" in each]


def test_shellcheck_finds_nothing():
    """The entry script is plain POSIX shell."""
    checked = subprocess.run([tool("shellcheck"), SCRIPT], capture_output=True, text=True)
    parsed = subprocess.run(["sh", "-n", SCRIPT], capture_output=True, text=True)

    assert (checked.stdout, parsed.stderr) == ("", "")
    assert SCRIPT.read_text().startswith("#!/bin/sh\n")
    assert SCRIPT.stat().st_mode & 0o111


def test_settings_files_are_valid():
    """What the images bring as settings is read without a complaint."""
    coordinator = coordinator_settings.load_settings(DEPLOY / "docker" / "coordinator.yaml")
    client = client_settings.load_settings(DEPLOY / "docker" / "client.yaml")

    assert coordinator.metrics == "0.0.0.0:9470"
    assert client.data.dataset == "/data/rows.jsonl"
    assert missing(client.data, {"format": {"kind": "text"}}) == ()


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_compose_file_is_valid(path):
    """A compose file keeps to the Compose Specification, and what it names is defined."""
    parsed = PyCompose.from_yaml(yaml.safe_dump(compose(path)))

    parsed.validate()

    assert set(parsed.service_names()) <= set(SERVICES)


@pytest.mark.parametrize(("name", "service"), SERVICES.items(), ids=lambda each: str(each)[:20])
def test_a_service_has_no_more_than_it_needs(name, service):
    """No capability, no new privilege, no writable image, and no user but the image's."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"user", "privileged", "cap_add", "network_mode", "pid"} & set(service)


def test_files_that_compose_names_are_in_the_repository():
    """Dockerfiles and the run's YAML lie where the compose file says."""
    built = [each["build"] for each in SERVICES.values()]
    mounted = SERVICES["coordinator"]["volumes"][-1].split(":")[0]

    assert all((DEPLOY / each["context"] / each["dockerfile"]).is_file() for each in built)
    assert (DEPLOY / mounted).is_file()
