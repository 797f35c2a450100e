"""One version: pyproject.toml has it, and what deploy/ names and what is installed are of it."""

import re
import tomllib
from importlib.metadata import version

from tests.deploy.files import COMPOSE_FILES, MANIFESTS, ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_image_of_ours_is_of_this_version():
    """Compose builds the images that Kubernetes takes: the same names, with the version as their tag."""
    named = {
        path.name: dict(
            re.findall(r"^\s*image: (antiphon-[a-z-]+):?(\S*)$", path.read_text(), re.M)
        )
        for path in (*COMPOSE_FILES, *MANIFESTS)
    }

    built = named["compose.yaml"]
    taken = named["10-coordinator.yaml"] | named["20-client.yaml"]
    assert {tag for images in named.values() for tag in images.values()} == {VERSION}
    assert len(taken) == 2
    assert taken.keys() <= built.keys()


def test_what_is_installed_is_of_this_version():
    """What a client says of itself is the version of the sources: else `pip install -e .` again."""
    assert version("antiphon") == VERSION
